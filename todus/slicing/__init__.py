"""Finished files (.tflite, frozen graph, SavedModel, .onnx) limited to some of their classes."""
