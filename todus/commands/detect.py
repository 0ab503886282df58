"""Detects objects in images, folders and videos, and draws their boxes.

  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 photo.jpg other.png
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 photos/     a folder; also writes sheet.png
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 street.mp4  a video, drawn as street.avi
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 camera:0    a camera, until Ctrl-C
  python -m detect -m ssd_mobilenet_v1_coco_2018_01_28 --format tflite photo.jpg

--runtime is as in python -m eval; THREADS is the number of its threads (default: the runtime's).
ALLOW_OPS names operators of a graph to run beside the known ones (docs/reliability.md).

Runs the exported inference graph, or the zoo's before any export. Writes
model/NAME/detections/PHOTO.png and prints one line for each detection: image, class, score, xmin,
ymin, xmax, ymax in pixels, separated by tabs; with --json one JSON object for each image.
A file that cannot be read is named, and the others are still done; the exit code is then 1.
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import json
from pathlib import Path
from typing import Iterator

from todus import command, files, paths, variables
from todus.commands.arguments import add_form, add_model, add_runtime, chosen_form
from todus.detection import catalogue, runtimes
from todus.errors import TodusError
from todus.text import one_line


def parser() -> command.Parser:
    result = command.Parser("detect", __doc__)
    add_model(result, required=True)
    add_form(result)
    add_runtime(result)
    result.add_argument(
        "--threshold",
        type=command.typed(variables.Decimal(0, 1)),
        default=0.5,
        metavar="T",
        help="the least score to draw and print (default: 0.5)",
    )
    result.add_argument("--json", action="store_true", help="print one JSON object an image")
    result.add_argument(
        "--frames",
        type=command.typed(variables.Whole(1)),
        metavar="N",
        help="only the first N frames of a video or camera",
    )
    result.add_argument(
        "--out", metavar="DIR", help="the folder for the pictures (default: model/NAME/detections)"
    )
    text = "an image, a folder of images, a video file or camera:N"
    result.add_argument("images", nargs="+", metavar="IMAGE", help=text)
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    from todus.detection import media

    model = paths.model(arguments.model).check()
    sources = media.sources(arguments.images)
    default = "frozen_graph" if model.frozen_graph.exists() else "zoo"
    form = chosen_form(model, arguments, default)
    runtime = runtimes.choose(arguments.runtime, form.name)
    detector = catalogue.open_form(model, form, variables.value("THREADS", "detect"), runtime)
    out = Path(arguments.out) if arguments.out else model.folder / "detections"
    total = sum(max(1, len(source.files)) for source in sources)
    failed = []
    for source in sources:
        detect_in = detect_in_video if source.kind == "video" else detect_in_images
        for error in detect_in(detector, source, out, arguments):
            if total == 1:
                raise error
            command.say("detect: %s; left out" % error)
            failed.append(error)
    if failed:
        raise TodusError("%d of %d files cannot be read" % (len(failed), total))
    return 0


def detect_in_images(detector, source, out: Path, arguments) -> Iterator[TodusError]:
    """Yields the error of each file that cannot be read."""
    from todus.detection import drawing, media

    thumbnails = []
    for path in source.files:
        try:
            image = media.read_image(path)
        except TodusError as error:
            yield error
            continue
        found = detector.detect([image])[0]
        picture = drawing.draw(image, found, detector.names, arguments.threshold)
        print_detections(str(path), image, found, detector.names, arguments)
        save_png(picture, out / ("%s.png" % media.unique_name(path, source)))
        thumbnails.append(drawing.thumbnail(picture))
    if source.kind == "folder" and thumbnails:
        save_png(drawing.contact_sheet(thumbnails), out / "sheet.png")


def detect_in_video(detector, source, out: Path, arguments) -> Iterator[TodusError]:
    """Yields the error of a video that cannot be read."""
    from todus.detection import drawing, media

    target = out / (media.unique_name(Path(source.name), source) + ".avi")
    count = 0
    try:
        with media.video_writer(target) as write:
            for count, (image, rate) in enumerate(media.frames(source, arguments.frames), start=1):
                found = detector.detect([image])[0]
                write(drawing.draw(image, found, detector.names, arguments.threshold), rate)
                frame = "%s#%d" % (source.name, count - 1)
                print_detections(frame, image, found, detector.names, arguments)
    except TodusError as error:
        yield error
        return
    command.say("detect: %d frames, %s" % (count, target))


def save_png(picture, target: Path) -> None:
    with files.replacing(target) as part:
        picture.save(str(part), "PNG")
    command.say("detect: %s" % target)


def print_detections(name: str, image, found, names, arguments) -> None:
    """Prints a line for each detection with a score of at least --threshold, or one JSON object."""
    height, width = image.shape[:2]
    rows = []
    for (ymin, xmin, ymax, xmax), class_id, score in zip(*found):
        if score >= arguments.threshold:
            box = [xmin * width, ymin * height, xmax * width, ymax * height]
            rows.append((names.get(int(class_id), str(int(class_id))), float(score), box))
    if arguments.json:
        listed = [
            {
                "class": label,
                "score": round(score, 4),
                "box": [round(float(side), 1) for side in box],
            }
            for label, score, box in rows
        ]
        line = {"image": name, "width": width, "height": height, "detections": listed}
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return
    for label, score, box in rows:
        values = (one_line(name), one_line(label), score, *box)
        print("%s\t%s\t%.3f\t%d\t%d\t%d\t%d" % values, flush=True)
