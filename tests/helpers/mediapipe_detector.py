"""Detects in an image with MediaPipe's ObjectDetector; run by the Python of .runtimes.

  .runtimes/bin/python -I mediapipe_detector.py IMAGE.npy FILE.tflite...

Prints a JSON list of [class, score] for each file.
"""

import json
import sys
import types

import numpy as np

for name in ("matplotlib", "matplotlib.pyplot"):  # imported for drawing only
    sys.modules[name] = types.ModuleType(name)

import mediapipe as mp

vision = mp.tasks.vision
image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.load(sys.argv[1]))
for path in sys.argv[2:]:
    base = mp.tasks.BaseOptions(model_asset_path=path)
    options = vision.ObjectDetectorOptions(base_options=base, max_results=10)
    with vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(image).detections
    kinds = [each.categories[0] for each in found]
    print(json.dumps([[kind.category_name, kind.score] for kind in kinds]), flush=True)
