"""Fetches a model of the TensorFlow 1 detection zoo and limits it to the classes you need.

  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited
  python -m model -m ssd_mobilenet_v2_coco_2018_03_29 -d limited -q
  python -m model -m ssd_mobilenet_v1_coco_2018_01_28 --categories "bear horse giraffe"

The limited model detects its classes at once as the zoo model does; training starts from there. Environment: ZOO_URL (a mirror),
TODUS_HOME (where model/ and dataset/ lie). Exit codes: 0, 1 for what went wrong, 2 for wrong usage.
"""

import sys

from todus import command

if __name__ == "__main__":
    command.use_repo_environment()

from todus import categories, limit, paths, pipeline, prepare, zoo
from todus.errors import UsageError


def parser() -> command.Parser:
    result = command.Parser("model", __doc__)
    result.add_argument("-m", "--model", metavar="NAME", help="the zoo's name for it; --list shows them")
    result.add_argument("-d", "--dataset", metavar="NAME", help="limit it to this dataset's classes: limited, complete, voc/NAME ...")
    result.add_argument("--categories", metavar="NAMES", help='limit it to these classes, without a dataset: "bear horse giraffe"')
    result.add_argument("-q", "--quantize", action="store_true", help="train quantization-aware, for uint8 TFLite (EdgeTPU)")
    result.add_argument("--as", dest="name", metavar="DIR", help="the directory under model/, so that one zoo model serves several products")
    result.add_argument("--archive", metavar="PATH", help="a .tar.gz or its URL instead of the zoo's")
    result.add_argument("--label-map", metavar="FILE", help="the label map of the zoo model, where its archive has none")
    result.add_argument("--batch-size", type=int, metavar="N", help="images a step; the learning rate scales with it")
    result.add_argument("--steps", type=int, metavar="N", help="training steps")
    result.add_argument("--list", action="store_true", help="print the zoo's models and stop")
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.list:
        return list_zoo()
    if not arguments.model:
        raise UsageError("name a model with -m; python -m model --list shows them")
    if bool(arguments.dataset) == bool(arguments.categories):
        raise UsageError('give either -d DATASET or --categories "NAMES"')
    request = prepare.Request(
        zoo_name=paths.checked_name(arguments.model, "-m"),
        dataset=paths.dataset(arguments.dataset).check() if arguments.dataset else None,
        archive=arguments.archive,
        label_map=arguments.label_map,
        quantize=arguments.quantize,
        batch_size=_positive(arguments.batch_size, "--batch-size"),
        steps=_positive(arguments.steps, "--steps"),
        categories=arguments.categories,
    )
    model = paths.model(arguments.name or arguments.model)
    report(model, request, prepare.prepare(model, request, command.say))
    return 0


def _positive(value, name):
    if value is not None and value < 1:
        raise UsageError("%s %d: must be 1 or more" % (name, value))
    return value


def list_zoo() -> int:
    row = "%-76s %-9s %-19s %-10s %s"
    print(row % ("NAME", "INPUT", "KIND", "mAP", "ms AN IMAGE"))
    for entry in zoo.table():
        print(row % (entry.name, entry.input, entry.kind, entry.map, entry.milliseconds))
    return 0


def report(model: paths.Model, request: prepare.Request, made: prepare.Prepared) -> None:
    sliced = made.sliced
    print("%s: %d of %d classes" % (model.name, len(sliced.from_zoo), len(made.zoo_names)))
    print("  from the zoo   %s" % command.one_line(categories.shortened(sliced.from_zoo) or "none"))
    if sliced.fresh:
        print("  new, untrained %s" % command.one_line(categories.shortened(sliced.fresh)))
    print("  variables      %d sliced, %d copied, %d dropped" % (len(sliced.sliced), len(sliced.copied), len(sliced.dropped)))
    print("  parameters     %.2f M -> %.2f M" % (sliced.parameters_before / 1e6, sliced.parameters / 1e6))
    if not limit.is_exact(made.zoo_config):
        print("  note           classes share a softmax: scores are close to the zoo model's, not equal")
    if pipeline.is_quantized(made.config):
        print("  quantization   aware, from step %d" % made.config.graph_rewriter.quantization.delay)
    for note in made.notes:
        command.say("model: %s" % note)
    if request.dataset:
        print("next: export MODEL_DIR=%s && ./eval.sh && ./train.sh" % model.folder)
    else:
        print("next: export MODEL_DIR=%s CHECKPOINT_PREFIX=pretrained && ./export.sh" % model.folder)


if __name__ == "__main__":
    sys.exit(command.run("model", main))
