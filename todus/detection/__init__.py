"""One interface, detect(images) -> boxes, classes, scores; one file a runtime."""
