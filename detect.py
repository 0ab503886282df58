"""Detects in images and draws what it finds.

  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 photo.jpg other.png
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 --format tflite photo.jpg

Uses the exported inference graph, before any export the zoo's. Writes model/NAME/detections/PHOTO.png and prints a line a detection:
image, class, score, xmin, ymin, xmax, ymax in pixels, tab-separated. Exit codes: 0, 1 for what went wrong, 2 for wrong usage.
"""

import sys
from pathlib import Path

from todus import command

if __name__ == "__main__":
    command.use_repo_environment()

from todus import files, paths
from todus.errors import TodusError, UsageError


def parser() -> command.Parser:
    result = command.Parser("detect", __doc__)
    result.add_argument("-m", "--model", metavar="NAME", required=True, help="a model under model/, or its folder")
    result.add_argument("--format", choices=("checkpoint", "frozen_graph", "tflite"), help="which form of it")
    result.add_argument("--checkpoint", metavar="PREFIX", nargs="?", const="", help="model.ckpt-N, latest, best or pretrained (the slice)")
    result.add_argument("--threshold", type=float, default=0.5, metavar="T", help="draw and print scores from it on (default: 0.5)")
    result.add_argument("--out", metavar="DIR", help="where the PNGs go (default: model/NAME/detections)")
    result.add_argument("images", nargs="+", metavar="IMAGE")
    return result


def main(argv=None) -> int:
    from eval import make_detector

    arguments = parser().parse_args(argv)
    if not 0 <= arguments.threshold <= 1:
        raise UsageError("--threshold %g: must be between 0 and 1" % arguments.threshold)
    model = paths.model(arguments.model).check()
    images = [(Path(name), read_image(name)) for name in arguments.images]
    arguments.inference_graph = model.frozen_graph.exists()
    detector = make_detector(model, arguments)
    from todus import drawing

    out = Path(arguments.out) if arguments.out else model.folder / "detections"
    for path, image in images:
        found = detector.detect([image])[0]
        with files.replacing(out / (path.stem + ".png")) as part:
            drawing.draw(image, found, detector.names, arguments.threshold).save(str(part), "PNG")
        print_detections(path, image, found, detector.names, arguments.threshold)
        command.say("detect: %s" % (out / (path.stem + ".png")))
    return 0


def print_detections(path, image, found, names, threshold) -> None:
    height, width = image.shape[:2]
    for (ymin, xmin, ymax, xmax), class_id, score in zip(*found):
        if score >= threshold:
            name = command.one_line(names.get(int(class_id), str(int(class_id))))
            print("%s\t%s\t%.3f\t%d\t%d\t%d\t%d" % (path, name, score, xmin * width, ymin * height, xmax * width, ymax * height))


def read_image(name: str):
    """uint8 [height, width, 3]. Raises TodusError that names a file which is no image."""
    from todus.evaluation import decode

    try:
        return decode(Path(name).read_bytes())
    except FileNotFoundError:
        raise UsageError("%s: no such image" % name)
    except (OSError, ValueError, SyntaxError) as error:
        raise TodusError("%s is not an image that can be read (%s)" % (name, error))


if __name__ == "__main__":
    sys.exit(command.run("detect", main))
