"""convert-tflite.sh."""

import os
import sys

from todus import command, tflite
from todus.commands import chosen_model


def main(_argv=None) -> int:
    model = chosen_model()
    path = tflite.convert(model, os.environ.get("FORMAT", "").strip() or None)
    print("%s  %.1f MB" % (path, path.stat().st_size / 1e6))
    print("next: python -m eval -m %s --format tflite" % model.name)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("convert-tflite", main))
