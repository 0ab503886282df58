"""A checkpoint as inference graph, SavedModel, TFLite and ONNX; one file a form."""
