"""SSD, Inception v2, COCO. Each tuple: the name in the zoo's own graph, then the one in today's exports."""

TO_FLOAT = ("ToFloat", "Cast")
ANCHORS = ("MultipleGridAnchorGenerator/Concatenate", "Concatenate")
