"""Readers, one file a source, with main(argv); files named SOURCE_PART.py hold parts of them."""
