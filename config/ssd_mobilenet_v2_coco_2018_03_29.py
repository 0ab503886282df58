"""SSD, MobileNet v2, COCO. Scope names in the zoo graph, then in current exports."""

TO_FLOAT = ("ToFloat", "Cast")
ANCHORS = ("Concatenate",)
