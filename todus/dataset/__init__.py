"""Images with boxes in one in-memory form: filtered, split, checked, and written as records. No TensorFlow."""
