"""COCO average precision of a model on the val records of its dataset.

  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28                     the zoo's own frozen graph
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 -i                  the exported inference graph
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 --checkpoint latest a checkpoint (eval.sh does this)
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 -c person dog       only these classes

Classes are matched by name, whatever the ids. Exit codes: 0, 1 for what went wrong, 2 for wrong usage.
"""

import sys
from pathlib import Path

from todus import command

if __name__ == "__main__":
    command.use_repo_environment()

from todus import categories, checkpoints, files, paths, pipeline, prepare
from todus.errors import TodusError, UsageError

FORMATS = ("checkpoint", "frozen_graph", "tflite")


def parser() -> command.Parser:
    result = command.Parser("eval", __doc__)
    result.add_argument("-m", "--model", metavar="NAME", required=True, help="a model under model/, or its folder")
    result.add_argument("-i", "--inference-graph", action="store_true", help="the exported graph instead of the zoo's")
    result.add_argument("--checkpoint", metavar="PREFIX", nargs="?", const="", help="model.ckpt-N, latest, best or pretrained (the slice)")
    result.add_argument("--format", choices=FORMATS, help="a converted model: tflite")
    result.add_argument("-c", "--categories", metavar="NAME", nargs="+", help="only these classes")
    result.add_argument("-d", "--dataset", metavar="NAME", help="another dataset than the model was prepared for")
    result.add_argument("--split", default="val", choices=("val", "train"), help="which records (default: val)")
    result.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    result.add_argument("--score-threshold", type=float, default=0.0, metavar="T", help="leave out detections below it")
    result.add_argument("--json", metavar="FILE", help="also write ap, ap50, ap75, per_class, images there")
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError("--limit %d: must be 1 or more" % arguments.limit)
    model = paths.model(arguments.model).check()
    dataset = paths.dataset(arguments.dataset).check() if arguments.dataset else prepare.dataset_of(model)
    from todus import evaluation

    only = evaluation.wanted_classes(dataset, arguments.categories).values()
    detector = make_detector(model, arguments)
    command.say("eval: %s on %s, %s, of dataset %s" % (detector.path, threshold_of(detector, arguments), arguments.split, dataset.name))
    result = evaluation.evaluate(
        detector, dataset, arguments.split, only if arguments.categories else None, arguments.limit, arguments.score_threshold, Ticker()
    )
    print_result(result)
    if arguments.json:
        files.write_json(arguments.json, result.as_dict())
    return 0


def make_detector(model: paths.Model, arguments):
    """The detector that the arguments name; the zoo's own model where they name none."""
    from todus import detectors

    wanted = arguments.format or ("checkpoint" if arguments.checkpoint is not None else "")
    if wanted == "checkpoint":
        prefix = checkpoints.choose(model, arguments.checkpoint or "")
        return detectors.Checkpoint(prefix, prepare.resolved(model), categories.read_label_map(model.limited_label_map))
    if wanted == "tflite":
        if not model.converted("tflite").exists():
            raise TodusError("%s is missing; run ./export-tflite.sh and ./convert-tflite.sh" % model.converted("tflite"))
        return detectors.TFLite(model.converted("tflite"), categories.read_label_map(model.exported_label_map))
    if wanted == "frozen_graph" or arguments.inference_graph:
        if not model.frozen_graph.exists():
            raise TodusError("%s is missing; run ./export.sh" % model.frozen_graph)
        return detectors.FrozenGraph(model.frozen_graph, categories.read_label_map(model.exported_label_map))
    names = categories.read_label_map(model.zoo_label_map)
    if model.zoo_frozen_graph.exists():
        return detectors.FrozenGraph(model.zoo_frozen_graph, names)
    config = pipeline.read(model.zoo_pipeline)
    threshold = pipeline.non_max_suppression(config).score_threshold
    return detectors.Checkpoint(model.zoo_checkpoint, config, names, threshold)


def threshold_of(detector, arguments) -> str:
    """A word on the score threshold, for AP depends on it."""
    beside = {"frozen_graph": ("zoo-pipeline.config", "pipeline.config")}.get(detector.form, ())
    own = 1e-8 if detector.form == "checkpoint" else None
    for name in beside:
        if (Path(detector.path).parent / name).exists():
            own = pipeline.non_max_suppression(pipeline.read(Path(detector.path).parent / name)).score_threshold
            break
    if detector.form == "tflite":
        own = files.read_json(paths.beside_json(detector.path))["exported"]["score_threshold"]
    return "score threshold %g" % max(own or 0.0, arguments.score_threshold)


class Ticker:
    """A line of progress every ten seconds."""

    def __init__(self) -> None:
        import time

        self._clock, self._last = time.monotonic, time.monotonic()

    def __call__(self, done: int) -> None:
        if self._clock() - self._last >= 10:
            self._last = self._clock()
            command.say("eval: %d images" % done)


def print_result(result) -> None:
    print(result.summary)
    width = max(len(name) for name in result.per_class)
    for name, value in result.per_class.items():
        print(" AP of %-*s %s" % (width, command.one_line(name), "-" if value != value else "%.3f" % value))
    for name in result.unknown:
        command.say("eval: the model does not know %s; it counts with AP 0" % command.one_line(name))
    command.say("eval: %d images in %.0f s, %.1f images a second" % (result.images, result.seconds, result.images_per_second))


if __name__ == "__main__":
    sys.exit(command.run("eval", main))
