"""Paths and names of the repository's files."""

from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
ZOO = REPO / "demo" / "zoo"
REAL = REPO.parent / "shared" / "real"
MODEL = "ssd_mobilenet_v1_shapes"
QUANTIZED = "ssd_mobilenet_v1_quantized_shapes"
