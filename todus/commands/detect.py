"""Detects in images, folders and videos, and draws what it finds.

  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 photo.jpg other.png
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 --format tflite photos/    a folder; also a contact sheet, sheet.png
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 street.mp4                 a video, drawn as street.avi
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 camera:0                   a camera, until Ctrl-C

Uses the exported inference graph, before any export the zoo's. Writes model/NAME/detections/PHOTO.png and prints a line a detection:
image, class, score, xmin, ymin, xmax, ymax in pixels, tab-separated; with --json a JSON object an image instead. Exit codes: 0, 1 for
what went wrong, 2 for wrong usage.
"""

import json
from pathlib import Path

from todus import command, files, forms, paths, variables
from todus.detection import catalogue
from todus.errors import TodusError
from todus.text import one_line


def parser() -> command.Parser:
    result = command.Parser("detect", __doc__)
    result.add_argument(
        "-m", "--model", metavar="NAME", required=True, help="a model under model/, or its folder"
    )
    result.add_argument("--format", metavar="FORM", help=forms.names())
    result.add_argument(
        "--checkpoint",
        metavar="PREFIX",
        nargs="?",
        const="",
        help="model.ckpt-N, latest, best or pretrained (the slice)",
    )
    result.add_argument(
        "--threshold",
        type=command.typed(variables.Decimal(0, 1)),
        default=0.5,
        metavar="T",
        help="draw and print scores from it on (default: 0.5)",
    )
    result.add_argument("--json", action="store_true", help="a line of JSON an image on stdout")
    result.add_argument(
        "--frames",
        type=command.typed(variables.Whole(1)),
        metavar="N",
        help="only the first N frames of a video or camera",
    )
    result.add_argument(
        "--out", metavar="DIR", help="where the pictures go (default: model/NAME/detections)"
    )
    result.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="an image, a folder of images, a video file or camera:N",
    )
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    from todus.detection import media

    model = paths.model(arguments.model).check()
    sources = media.sources(arguments.images)
    name = arguments.format or ("checkpoint" if arguments.checkpoint is not None else "")
    name = name or ("frozen_graph" if model.frozen_graph.exists() else "zoo")
    detector = catalogue.open_form(model, catalogue.find(model, name, arguments.checkpoint or ""))
    out = Path(arguments.out) if arguments.out else model.folder / "detections"
    for source in sources:
        if source.kind == "video":
            detect_in_video(detector, source, out, arguments)
        else:
            detect_in_images(detector, source, out, arguments)
    return 0


def detect_in_images(detector, source, out: Path, arguments) -> None:
    from todus.detection import drawing, media

    thumbnails = []
    for path in source.files:
        try:
            image = media.read_image(path)
        except TodusError as error:
            if source.kind != "folder":
                raise
            command.say("detect: %s; left out" % error)
            continue
        found = detector.detect([image])[0]
        picture = drawing.draw(image, found, detector.names, arguments.threshold)
        target = out / ("%s.png" % media.unique_name(path, source))
        with files.replacing(target) as part:
            picture.save(str(part), "PNG")
        print_detections(str(path), image, found, detector.names, arguments)
        command.say("detect: %s" % target)
        thumbnails.append(drawing.thumbnail(picture))
    if source.kind == "folder":
        if not thumbnails:
            raise TodusError("%s: no image in it can be read" % source.name)
        with files.replacing(out / "sheet.png") as part:
            drawing.contact_sheet(thumbnails).save(str(part), "PNG")
        command.say("detect: %s" % (out / "sheet.png"))


def detect_in_video(detector, source, out: Path, arguments) -> None:
    from todus.detection import drawing, media

    target = out / (media.unique_name(Path(source.name), source) + ".avi")
    count = 0
    with media.video_writer(target) as write:
        for count, (image, rate) in enumerate(media.frames(source, arguments.frames), start=1):
            found = detector.detect([image])[0]
            write(drawing.draw(image, found, detector.names, arguments.threshold), rate)
            print_detections(
                "%s#%d" % (source.name, count - 1), image, found, detector.names, arguments
            )
    command.say("detect: %d frames, %s" % (count, target))


def print_detections(name: str, image, found, names, arguments) -> None:
    height, width = image.shape[:2]
    rows = []
    for (ymin, xmin, ymax, xmax), class_id, score in zip(*found):
        if score >= arguments.threshold:
            label = names.get(int(class_id), str(int(class_id)))
            rows.append(
                (label, float(score), xmin * width, ymin * height, xmax * width, ymax * height)
            )
    if arguments.json:
        listed = [
            {
                "class": row[0],
                "score": round(row[1], 4),
                "box": [round(float(side), 1) for side in row[2:]],
            }
            for row in rows
        ]
        print(
            json.dumps(
                {"image": name, "width": width, "height": height, "detections": listed},
                ensure_ascii=False,
            ),
            flush=True,
        )
        return
    for label, score, *box in rows:
        print(
            "%s\t%s\t%.3f\t%d\t%d\t%d\t%d" % ((name, one_line(label), score) + tuple(box)),
            flush=True,
        )
