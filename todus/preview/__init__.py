"""A contact sheet and a page of counts of a dataset."""
