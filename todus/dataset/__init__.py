"""Images with boxes: read from a source, filtered, split, checked, written as records."""
