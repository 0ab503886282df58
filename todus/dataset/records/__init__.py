"""TFRecord shards of a dataset: written, read back, verified."""
