"""One HTML page about a model."""
