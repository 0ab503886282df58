"""SSD, MobileNet v1 of depth 0.75, COCO. Scope names in the zoo graph, then in current exports."""

TO_FLOAT = ("ToFloat", "Cast")
ANCHORS = ("Concatenate",)
