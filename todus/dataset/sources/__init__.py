"""One file a source: what lies on disk or on a server, read into the in-memory form."""
