"""Labels a folder of images with a detector, as Pascal VOC XML for a person to look over."""
