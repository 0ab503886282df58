"""Fetches a model of the TensorFlow 1 detection zoo and limits it to the classes you need.

  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited
  python -m model -m ssd_mobilenet_v2_coco_2018_03_29 -d limited -q
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 --categories "bear horse giraffe"
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d voc/raccoon --keep "person dog" --as r
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 --summary

The limited model detects its classes as the zoo model does, without training; training starts
from it. With --keep, training adds the dataset's classes to the kept ones, which stay as they are,
in a minute; -m may then also name a model under model/, to add more. Environment: ZOO_URL (a
mirror), TODUS_HOME (the folder of model/ and dataset/).
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import os
import re
import shlex
from typing import List, Tuple

from todus import categories, command, paths, text, variables
from todus.errors import UsageError
from todus.model import pipeline, pipeline_options, prepare, prepared, zoo
from todus.model.checkpoint_values import read_checkpoint
from todus.model.class_slice import is_exact
from todus.text import one_line, shortened

COUNT = command.typed(variables.Whole(1))
RATE = command.typed(variables.Decimal(0, 1000000, above=True))


def parser() -> command.Parser:
    result = command.Parser("model", __doc__)
    result.add_argument(
        "-m", "--model", metavar="NAME", help="the model's name in the zoo; --list prints them"
    )
    text = "limit it to this dataset's classes: limited, complete, voc/NAME ..."
    result.add_argument("-d", "--dataset", metavar="NAME", help=text)
    text = 'limit it to these classes, without a dataset: "bear horse giraffe"'
    result.add_argument("--categories", metavar="NAMES", help=text)
    text = "classes of the model that stay as they are, or all; the dataset's are added to them"
    result.add_argument("--keep", metavar="NAMES", help=text)
    text = "with --keep: boxes of their own for the added classes: more precise, no UFF"
    result.add_argument("--own-head", action="store_true", help=text)
    text = "train quantization-aware, for uint8 TFLite (EdgeTPU)"
    result.add_argument("-q", "--quantize", action="store_true", help=text)
    text = "the directory under model/, so that one zoo model serves several products"
    result.add_argument("--as", dest="name", metavar="DIR", help=text)
    add_origin(result.add_argument_group("where it comes from"))
    look = result.add_argument_group("print, and change nothing")
    look.add_argument("--list", action="store_true", help="the zoo's models")
    look.add_argument("--summary", action="store_true", help="the prepared model's properties")
    text = "the names and shapes of its variables"
    look.add_argument("--variables", action="store_true", help=text)
    add_patches(result.add_argument_group("pipeline.config (default: the zoo's)"))
    return result


def add_origin(group) -> None:
    text = "a .tar.gz or its URL instead of the zoo's"
    group.add_argument("--archive", metavar="PATH", help=text)
    text = "a pipeline.config instead of the archive's"
    group.add_argument("--config", metavar="FILE", help=text)
    text = "the label map of the zoo model, if its archive has none"
    group.add_argument("--label-map", metavar="FILE", help=text)
    text = "a new, untrained box predictor on the zoo model's feature extractor"
    group.add_argument("--no-limit", action="store_true", help=text)


def add_patches(group) -> None:
    group.add_argument(
        "--batch-size",
        type=command.typed(variables.Either("auto", variables.Whole(1, 65536))),
        metavar="N|auto",
        help="images a step; the learning rate scales with it, without --learning-rate",
    )
    group.add_argument("--steps", type=COUNT, metavar="N", help="training steps")
    group.add_argument("--learning-rate", type=RATE, metavar="R")
    text = "of the learning rate (default with --learning-rate: constant)"
    group.add_argument("--decay", choices=pipeline_options.DECAYS, help=text)
    group.add_argument("--decay-steps", type=COUNT, metavar="N")
    group.add_argument("--decay-factor", type=RATE, metavar="F")
    group.add_argument("--warmup-steps", type=COUNT, metavar="N")
    group.add_argument("--optimizer", choices=pipeline_options.OPTIMIZERS)
    text = "comma-separated: %s" % ", ".join(pipeline_options.AUGMENTATIONS)
    group.add_argument("--augment", metavar="NAMES", help=text)
    text = "variables that are not trained: backbone, the feature extractor, or none"
    group.add_argument("--freeze", metavar="REGEX", help=text)
    text = "of a model with a fixed input size"
    group.add_argument("--image-size", type=command.typed(Size()), metavar="HxW", help=text)
    text = "of a model that keeps the aspect ratio"
    group.add_argument("--min-size", type=COUNT, metavar="N", help=text)
    group.add_argument("--max-size", type=COUNT, metavar="N")
    group.add_argument("--pad-to-multiple", type=COUNT, metavar="N")
    group.add_argument(
        "--quantization-delay",
        type=command.typed(variables.Whole(0)),
        metavar="N",
        help="steps before quantization begins (default: a tenth)",
    )
    group.add_argument("--weight-bits", type=COUNT, metavar="8")
    group.add_argument("--activation-bits", type=COUNT, metavar="8")
    group.add_argument("--max-detections", type=COUNT, metavar="N", help="an image")
    group.add_argument(
        "--score-threshold",
        type=command.typed(variables.Decimal(0, 1)),
        metavar="T",
        help="exported graphs leave out detections below it",
    )


class Size(variables.Like):
    """HEIGHTxWIDTH, as (height, width)."""

    def __init__(self) -> None:
        super().__init__(r"[1-9]\d{0,4}x[1-9]\d{0,4}", "HEIGHTxWIDTH, such as 300x300")

    def read(self, text: str) -> Tuple[int, int]:
        height, width = super().read(text).split("x")
        return int(height), int(width)


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.list:
        return list_zoo()
    if not arguments.model:
        raise UsageError("name a model with -m; python -m model --list shows them")
    if arguments.name:
        paths.checked_name(arguments.name, "--as")
    model = paths.model(arguments.name or arguments.model)
    if arguments.summary or arguments.variables:
        return look(model.check(), arguments)
    if bool(arguments.dataset) == bool(arguments.categories):
        raise UsageError('give either -d DATASET or --categories "NAMES"')
    if arguments.keep and (not arguments.dataset or arguments.no_limit):
        raise UsageError("--keep adds the classes of a dataset: give -d, and no --no-limit")
    if arguments.own_head and not arguments.keep:
        raise UsageError("--own-head is for classes that are added with --keep; give both")
    request = prepare.Request(
        zoo_name=paths.checked_name(arguments.model, "-m"),
        dataset=paths.dataset(arguments.dataset).check() if arguments.dataset else None,
        categories=arguments.categories,
        archive=arguments.archive,
        config=arguments.config,
        label_map=arguments.label_map,
        quantize=arguments.quantize,
        limit=not arguments.no_limit,
        keep=arguments.keep,
        own_head=arguments.own_head,
        batch_auto=arguments.batch_size == "auto",
        options=options_of(arguments),
        command=typed(arguments),
    )
    report(model, request, prepare.prepare(model, request))
    return 0


def typed(arguments) -> List[str]:
    """The arguments for typing them again in any folder: short options, absolute paths."""
    names = {"model": "-m", "dataset": "-d", "quantize": "-q", "name": "--as"}
    words: List[str] = []
    for dest, value in vars(arguments).items():
        if value is None or value is False or dest in ("list", "summary", "variables"):
            continue
        words.append(names.get(dest, "--" + dest.replace("_", "-")))
        if dest in ("archive", "config", "label_map") and "://" not in value:
            value = os.path.abspath(os.path.expanduser(value))
        if value is not True:
            words.append("%dx%d" % value if isinstance(value, tuple) else str(value))
    return words


def options_of(arguments) -> pipeline_options.Options:
    values = {name: getattr(arguments, name) for name in vars(pipeline_options.Options())}
    if values["batch_size"] == "auto":
        values["batch_size"] = None
    if values["augment"] is not None:
        values["augment"] = [name for name in values["augment"].split(",") if name]
    return pipeline_options.Options(**values)


def list_zoo() -> int:
    rows = [("NAME", "INPUT", "KIND", "mAP", "ms AN IMAGE")]
    for entry in zoo.table():
        rows.append((entry.name, entry.input, entry.kind, entry.map, entry.milliseconds))
    print("\n".join(text.table(rows, left=len(rows[0]))))
    return 0


def look(model: paths.Model, arguments) -> int:
    """Prints what --variables or --summary shows."""
    from todus.model import held, resources

    if arguments.variables:
        prefix = held.choose(model)
        for name, value in read_checkpoint(prefix).items():
            print("%s  %s" % (name, "x".join(str(side) for side in value.shape) or "scalar"))
        return 0
    config = prepared.resolved(model)
    cost = resources.costs(config)
    names = categories.read_label_map(model.limited_label_map)
    size, batch = pipeline.input_size(config), config.train_config.batch_size
    delay = config.graph_rewriter.quantization.delay
    quantized, memory = pipeline.is_quantized(config), resources.training_bytes(cost, batch)
    millions = cost.parameters / 1e6
    for row in (
        ("input", "%dx%d pixels" % size if size else "follows the image"),
        ("classes", "%d: %s" % (len(names), one_line(shortened(names.values(), 6)))),
        ("extractor", pipeline.extractor(config)),
        ("predictor", pipeline.box_predictor(config)),
        ("anchors", cost.anchors or "follow the image"),
        ("trainable", "%d variables, %d frozen" % (len(cost.trainable), len(cost.frozen))),
        ("parameters", "%.2f M" % millions),
        ("multiply-adds", "%.3f G an image" % (cost.multiply_adds / 1e9)),
        ("TFLite size", "about %.1f MB in int8, %.1f MB in float" % (millions, 4 * millions)),
        ("training", "about %.1f GB at batch size %d" % (memory / 1e9, batch)),
        ("quantization", "from step %d" % delay if quantized else "none"),
    ):
        print("%-14s %s" % row)
    return 0


def report(model: paths.Model, request: prepare.Request, made: prepare.Prepared) -> None:
    """Prints what was made, the changes of pipeline.config and the command to type next."""
    sliced = made.sliced
    count = "%d class%s" % (len(made.names), "" if len(made.names) == 1 else "es")
    print("%s: %s, of the zoo's %d" % (model.name, count, len(made.zoo_names)))
    if made.start == "slice":
        _print_slice(made)
    elif made.start == "features":
        counts = "%d variables copied, %d left out" % (len(sliced.copied), len(sliced.dropped))
        print("  a fresh head   %s: it detects nothing before training" % counts)
    else:
        print("  a classifier   its features are the start; it detects nothing before training")
    if pipeline.is_quantized(made.config):
        delay = made.config.graph_rewriter.quantization.delay
        print("  quantization   aware, from step %d" % delay)
    lines = pipeline.changes(made.zoo_config, made.config)
    print("pipeline.config, %d fields changed:" % len(lines))
    for line in lines:
        print(_folded("  %s" % one_line(line.replace("%s/" % paths.home(), ""))))
    for note in made.notes:
        command.say("model: %s" % one_line(note))
    folder = shlex.quote(str(model.folder))
    if request.dataset:
        detects = made.start == "slice" and not made.added
        evaluation = "&& ./eval.sh " if detects else ""
        print("next: export MODEL_DIR=%s %s&& ./train.sh" % (folder, evaluation))
    elif made.start == "slice":
        print("next: export MODEL_DIR=%s CHECKPOINT_PREFIX=pretrained && ./export.sh" % folder)


def _folded(change: str) -> str:
    """A changed field in lines of at most 80 characters, broken at its dots, before its values."""
    name, _, values = change.partition(": ")
    parts = re.findall(r"[^.]+\.?", name + ": ") + re.split("(?=-> )", values)
    lines = [""]
    for part in parts:
        if len((lines[-1] + part).rstrip()) > 80:
            lines.append("      ")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _print_slice(made: prepare.Prepared) -> None:
    sliced = made.sliced
    print("  from the zoo   %s" % one_line(shortened(sliced.from_zoo) or "none"))
    if sliced.fresh:
        print("  new, untrained %s" % one_line(shortened(sliced.fresh)))
    counts = (len(sliced.sliced), len(sliced.copied), len(sliced.dropped))
    print("  variables      %d sliced, %d copied, %d dropped" % counts)
    parameters = (sliced.parameters_before / 1e6, sliced.parameters / 1e6)
    print("  parameters     %.2f M -> %.2f M" % parameters)
    megabytes = (made.bytes_before / 1e6, made.bytes_after / 1e6)
    print("  checkpoint     %.1f MB -> %.1f MB" % megabytes)
    if not is_exact(made.zoo_config):
        note = "classes share a softmax: scores are close to the zoo model's, not equal"
        print("  note           %s" % note)
