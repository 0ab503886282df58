"""Annotated images from any source to TFRecords that TensorFlow's Object Detection API reads."""
