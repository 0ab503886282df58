"""Fetches a model of the TensorFlow 1 detection zoo and limits it to the classes you need.

  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited
  python -m model -m ssd_mobilenet_v2_coco_2018_03_29 -d limited -q
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 --categories "bear horse giraffe"
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 --summary

The limited model detects its classes at once as the zoo model does; training starts from there. Environment: ZOO_URL (a mirror),
TODUS_HOME (where model/ and dataset/ lie). Exit codes: 0, 1 for what went wrong, 2 for wrong usage.
"""

import os
import shlex
from typing import List, Tuple

from todus import categories, command, paths, text, variables
from todus.errors import UsageError
from todus.model import (
    checkpoint_values,
    class_slice,
    pipeline,
    pipeline_options,
    prepare,
    prepared,
    zoo,
)
from todus.text import one_line, shortened

COUNT = command.typed(variables.Whole(1))
RATE = command.typed(variables.Decimal(0, 1000000, above=True))


def parser() -> command.Parser:
    result = command.Parser("model", __doc__)
    result.add_argument(
        "-m", "--model", metavar="NAME", help="the zoo's name for it; --list shows them"
    )
    result.add_argument(
        "-d",
        "--dataset",
        metavar="NAME",
        help="limit it to this dataset's classes: limited, complete, voc/NAME ...",
    )
    result.add_argument(
        "--categories",
        metavar="NAMES",
        help='limit it to these classes, without a dataset: "bear horse giraffe"',
    )
    result.add_argument(
        "-q",
        "--quantize",
        action="store_true",
        help="train quantization-aware, for uint8 TFLite (EdgeTPU)",
    )
    result.add_argument(
        "--as",
        dest="name",
        metavar="DIR",
        help="the directory under model/, so that one zoo model serves several products",
    )
    source = result.add_argument_group("where it comes from")
    source.add_argument(
        "--archive", metavar="PATH", help="a .tar.gz or its URL instead of the zoo's"
    )
    source.add_argument(
        "--config", metavar="FILE", help="a pipeline.config instead of the archive's"
    )
    source.add_argument(
        "--label-map",
        metavar="FILE",
        help="the label map of the zoo model, where its archive has none",
    )
    source.add_argument(
        "--no-limit",
        action="store_true",
        help="a fresh, untrained head on the zoo model's features",
    )
    look = result.add_argument_group("look, and change nothing")
    look.add_argument("--list", action="store_true", help="print the zoo's models")
    look.add_argument(
        "--summary", action="store_true", help="print what the prepared model is made of"
    )
    look.add_argument(
        "--variables", action="store_true", help="print the names and shapes of its variables"
    )
    add_patches(result.add_argument_group("pipeline.config (default: the zoo's)"))
    return result


def add_patches(group) -> None:
    group.add_argument(
        "--batch-size",
        type=command.typed(variables.Either("auto", variables.Whole(1, 65536))),
        metavar="N|auto",
        help="images a step; the learning rate scales with it",
    )
    group.add_argument("--steps", type=COUNT, metavar="N", help="training steps")
    group.add_argument("--learning-rate", type=RATE, metavar="R")
    group.add_argument(
        "--decay",
        choices=pipeline_options.DECAYS,
        help="of the learning rate (default with --learning-rate: constant)",
    )
    group.add_argument("--decay-steps", type=COUNT, metavar="N")
    group.add_argument("--decay-factor", type=RATE, metavar="F")
    group.add_argument("--warmup-steps", type=COUNT, metavar="N")
    group.add_argument("--optimizer", choices=pipeline_options.OPTIMIZERS)
    group.add_argument(
        "--augment",
        metavar="NAMES",
        help="comma-separated: %s" % ", ".join(pipeline_options.AUGMENTATIONS),
    )
    group.add_argument(
        "--freeze",
        metavar="REGEX",
        help="variables that training leaves alone; backbone is the feature extractor",
    )
    group.add_argument(
        "--image-size",
        type=command.typed(Size()),
        metavar="HxW",
        help="of a model with a fixed input",
    )
    group.add_argument(
        "--min-size", type=COUNT, metavar="N", help="of a model that keeps the aspect"
    )
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
        help="detections below it are left out of exported graphs",
    )
    group.add_argument("--eval-images", type=COUNT, metavar="N")


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
    model = paths.model(arguments.name or arguments.model)
    if arguments.summary or arguments.variables:
        return look(model.check(), arguments)
    if bool(arguments.dataset) == bool(arguments.categories):
        raise UsageError('give either -d DATASET or --categories "NAMES"')
    request = prepare.Request(
        zoo_name=paths.checked_name(arguments.model, "-m"),
        dataset=paths.dataset(arguments.dataset).check() if arguments.dataset else None,
        categories=arguments.categories,
        archive=arguments.archive,
        config=arguments.config,
        label_map=arguments.label_map,
        quantize=arguments.quantize,
        limit=not arguments.no_limit,
        batch_auto=arguments.batch_size == "auto",
        options=options_of(arguments),
        command=typed(arguments),
    )
    report(model, request, prepare.prepare(model, request, command.say))
    return 0


def typed(arguments) -> List[str]:
    """The arguments as a person can type them again, from any folder: short names where there are two, paths absolute."""
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
    rows += [
        (entry.name, entry.input, entry.kind, entry.map, entry.milliseconds)
        for entry in zoo.table()
    ]
    print("\n".join(text.table(rows, left=len(rows[0]))))
    return 0


def look(model: paths.Model, arguments) -> int:
    from todus.model import checkpoints, resources

    if arguments.variables:
        prefix = checkpoints.choose(model)
        for name, value in checkpoint_values.read_checkpoint(prefix).items():
            print("%s  %s" % (name, "x".join(str(side) for side in value.shape) or "scalar"))
        return 0
    config = prepared.resolved(model)
    cost = resources.costs(config)
    names = categories.read_label_map(model.limited_label_map)
    rows = [
        (
            "input",
            "%dx%d pixels" % pipeline.input_size(config)
            if pipeline.input_size(config)
            else "follows the image",
        ),
        ("classes", "%d: %s" % (len(names), one_line(shortened(names.values(), 6)))),
        ("extractor", pipeline.extractor(config)),
        ("predictor", pipeline.box_predictor(config)),
        ("anchors", str(cost.anchors or "follow the image")),
        ("trainable", "%d variables, %d frozen" % (len(cost.trainable), len(cost.frozen))),
        ("parameters", "%.2f M" % (cost.parameters / 1e6)),
        ("multiply-adds", "%.3f G an image" % (cost.multiply_adds / 1e9)),
        (
            "TFLite size",
            "about %.1f MB in int8, %.1f MB in float"
            % (cost.parameters / 1e6, 4 * cost.parameters / 1e6),
        ),
        ("training", "about %.1f GB at batch size %d" % _memory(cost, config)),
        (
            "quantization",
            "from step %d" % config.graph_rewriter.quantization.delay
            if pipeline.is_quantized(config)
            else "none",
        ),
    ]
    for name, value in rows:
        print("%-14s %s" % (name, value))
    return 0


def _memory(cost, config):
    from todus.model import resources

    size_of_batch = config.train_config.batch_size
    return resources.training_bytes(cost, size_of_batch) / 1e9, size_of_batch


def report(model: paths.Model, request: prepare.Request, made: prepare.Prepared) -> None:
    sliced = made.sliced
    count = "%d class%s" % (len(made.names), "" if len(made.names) == 1 else "es")
    print("%s: %s, of the zoo's %d" % (model.name, count, len(made.zoo_names)))
    if made.start == "slice":
        print("  from the zoo   %s" % one_line(shortened(sliced.from_zoo) or "none"))
        if sliced.fresh:
            print("  new, untrained %s" % one_line(shortened(sliced.fresh)))
        print(
            "  variables      %d sliced, %d copied, %d dropped"
            % (len(sliced.sliced), len(sliced.copied), len(sliced.dropped))
        )
        print(
            "  parameters     %.2f M -> %.2f M"
            % (sliced.parameters_before / 1e6, sliced.parameters / 1e6)
        )
        print(
            "  checkpoint     %.1f MB -> %.1f MB"
            % (made.bytes_before / 1e6, made.bytes_after / 1e6)
        )
        if not class_slice.is_exact(made.zoo_config):
            print(
                "  note           classes share a softmax: scores are close to the zoo model's, not equal"
            )
    elif made.start == "features":
        print(
            "  a fresh head   %d variables copied, %d left out: it detects nothing before training"
            % (len(sliced.copied), len(sliced.dropped))
        )
    else:
        print("  a classifier   its features are the start; it detects nothing before training")
    if pipeline.is_quantized(made.config):
        print(
            "  quantization   aware, from step %d" % made.config.graph_rewriter.quantization.delay
        )
    lines = pipeline.changes(made.zoo_config, made.config)
    print("pipeline.config, %d fields changed:" % len(lines))
    home = str(paths.home()) + "/"
    for line in lines:
        print("  %s" % one_line(line.replace(home, "")))
    for note in made.notes:
        command.say("model: %s" % one_line(note))
    folder = shlex.quote(str(model.folder))
    if request.dataset:
        print(
            "next: export MODEL_DIR=%s %s&& ./train.sh"
            % (folder, "&& ./eval.sh " if made.start == "slice" else "")
        )
    elif made.start == "slice":
        print("next: export MODEL_DIR=%s CHECKPOINT_PREFIX=pretrained && ./export.sh" % folder)
