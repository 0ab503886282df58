"""A detector for each runtime: detect(images) -> boxes, classes, scores."""
