"""COCO average precision of a model on the val records of its dataset.

  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28                     the zoo's own frozen graph
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 -i                  the exported inference graph
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 --checkpoint latest a checkpoint (eval.sh does this)
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 --format tflite     a converted model: tflite, tflite-float16, onnx ...
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 --all               every format there is; writes model/NAME/eval.json and eval.png
  python -m eval -m ssd_mobilenet_v1_coco_2018_01_28 -c person dog       only these classes

METRICS=coco|pascal|openimages chooses what AP means (default: coco). --all picks a score threshold for each class and puts it into the
FILE.json of each converted model: of the best F1, or with PRECISION=0.9 of that precision.
Classes are matched by name, whatever the ids. Exit codes: 0, 1 for what went wrong, 2 for wrong usage.
"""

import textwrap

from todus import command, files, forms, paths, text, variables
from todus.commands import preflight
from todus.detection import catalogue
from todus.errors import UsageError
from todus.model import artefacts, prepared
from todus.text import one_line


def parser() -> command.Parser:
    result = command.Parser("eval", __doc__)
    result.add_argument(
        "-m", "--model", metavar="NAME", required=True, help="a model under model/, or its folder"
    )
    result.add_argument(
        "-i",
        "--inference-graph",
        action="store_true",
        help="the exported graph instead of the zoo's",
    )
    result.add_argument(
        "--checkpoint",
        metavar="PREFIX",
        nargs="?",
        const="",
        help="model.ckpt-N, latest, best or pretrained (the slice)",
    )
    result.add_argument("--format", metavar="FORM", help=forms.names())
    result.add_argument(
        "--all",
        action="store_true",
        help="every format present, on the same images at the same score threshold",
    )
    result.add_argument("-c", "--categories", metavar="NAME", nargs="+", help="only these classes")
    result.add_argument(
        "-d", "--dataset", metavar="NAME", help="another dataset than the model was prepared for"
    )
    result.add_argument(
        "--split", default="val", choices=("val", "train"), help="which records (default: val)"
    )
    result.add_argument(
        "--limit",
        type=command.typed(variables.Whole(1)),
        metavar="N",
        help="only the first N images",
    )
    result.add_argument(
        "--score-threshold",
        type=command.typed(variables.Decimal(0, 1)),
        default=0.0,
        metavar="T",
        help="leave out detections below it",
    )
    result.add_argument(
        "--json", metavar="FILE", help="also write ap, ap50, ap75, per_class, images there"
    )
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.all and (arguments.format or arguments.inference_graph):
        raise UsageError("--all is every format; leave out --format and -i")
    model = paths.model(arguments.model).check()
    dataset = (
        paths.dataset(arguments.dataset).check()
        if arguments.dataset
        else prepared.dataset_of(model)
    )
    from todus.evaluation import average_precision

    preflight.evaluate(dataset, arguments.split)
    arguments.metrics = variables.value("METRICS", "eval")
    average_precision.wanted_classes(dataset, arguments.categories)
    if arguments.all:
        return evaluate_all(model, dataset, arguments)
    form = chosen_form(model, arguments)
    if form.name == "checkpoint":
        preflight.checkpoint_is_whole(form.path)
    own = catalogue.score_threshold(model, form) or 0.0
    where = "%s of dataset %s" % (arguments.split, dataset.name)
    command.say(
        "eval: %s, score threshold %g, on %s"
        % (form.path, max(own, arguments.score_threshold), where)
    )
    result = evaluate(
        catalogue.open_form(model, form, 1), dataset, arguments, arguments.score_threshold
    )
    print_result(result)
    if arguments.json:
        files.write_json(arguments.json, result.as_dict())
    return 0


def evaluate(detector, dataset, arguments, score_threshold: float):
    from todus.evaluation import average_precision

    return average_precision.evaluate(
        detector,
        dataset,
        arguments.split,
        arguments.categories,
        arguments.limit,
        score_threshold,
        Ticker(),
        arguments.metrics,
    )


def evaluate_all(model: paths.Model, dataset, arguments) -> int:
    """Every format on the same records at one score threshold, the highest that one of them cuts at itself."""
    from todus.evaluation import precision_recall, score_thresholds

    precision = variables.value("PRECISION", "eval")
    chosen = (
        arguments.checkpoint if arguments.checkpoint is not None else catalogue.exported_from(model)
    )
    there = catalogue.present(model, chosen, lambda line: command.say("eval: %s" % line))
    threshold = max(
        [arguments.score_threshold]
        + [catalogue.score_threshold(model, form) or 0.0 for form in there]
    )
    where = "%s of dataset %s" % (arguments.split, dataset.name)
    command.say(
        "eval: %d formats of %s, score threshold %g for each, on %s"
        % (len(there), model.name, threshold, where)
    )
    results, entries = {}, []
    for form in there:
        command.say("eval: %s" % form.path)
        result = results[form.title] = evaluate(
            catalogue.open_form(model, form, 1), dataset, arguments, threshold
        )
        picked = score_thresholds.pick_all(result.matches, precision)
        if arguments.split == "val" and not arguments.limit:
            score_thresholds.store(form.path, picked, precision, result.images)
        entries.append(entry_of(form, result, picked, threshold, next(iter(results.values()))))
        entries[-1]["classes"] = list(artefacts.of_model(model).classes)
    print_table(entries, next(iter(results.values())))
    files.write_json(model.folder / "eval.json", entries)
    precision_recall.draw(model.folder / "eval.png", results)
    if arguments.json:
        files.write_json(arguments.json, entries)
    print("written: %s, %s" % (model.folder / "eval.json", model.folder / "eval.png"))
    return 0


def entry_of(form, result, picked, threshold, first) -> dict:
    """What eval.json holds of one format; NaN, where there is no groundtruth, is null."""
    entry = dict(
        result.as_dict(),
        format=form.name,
        title=form.title,
        file=form.path.name,
        bytes=catalogue.bytes_of(form),
    )
    entry["drop"] = None if result.ap != result.ap or first.ap != first.ap else first.ap - result.ap
    entry.update(score_threshold=threshold, protocol=result.protocol, thresholds=picked)
    return entry


def print_table(entries, first) -> None:
    print(protocol(first))
    columns = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
    rows = [["format"] + [name.replace("ap_", "") for name in columns] + ["images/s", "MB"]]
    for entry in entries:
        values = ["-" if entry[name] is None else "%.4f" % entry[name] for name in columns]
        rows.append(
            [entry["title"]]
            + values
            + ["%.1f" % entry["images_per_second"], "%.1f" % (entry["bytes"] / 1e6)]
        )
    print("\n".join(text.table(rows)))
    for name in first.per_class:
        values = [
            "-" if entry["per_class"][name] is None else "%.3f" % entry["per_class"][name]
            for entry in entries
        ]
        picked = entries[-1]["thresholds"].get(name)
        note = (
            "; %s: keep scores from %.2f on" % (entries[-1]["title"], picked["threshold"])
            if picked
            else ""
        )
        print("  AP of %s: %s%s" % (one_line(name), " ".join(values), note))


def chosen_form(model: paths.Model, arguments) -> "catalogue.Present":
    """The form that the arguments name; the zoo's own model where they name none."""
    name = arguments.format or ("checkpoint" if arguments.checkpoint is not None else "")
    if not name:
        name = "frozen_graph" if arguments.inference_graph else "zoo"
    return catalogue.find(model, name, arguments.checkpoint or "")


class Ticker:
    """A line of progress every ten seconds."""

    def __init__(self) -> None:
        import time

        self._clock, self._last = time.monotonic, time.monotonic()

    def __call__(self, done: int) -> None:
        if self._clock() - self._last >= 10:
            self._last = self._clock()
            command.say("eval: %d images" % done)


def protocol(result) -> str:
    return textwrap.fill("protocol: %s" % result.protocol, 80, subsequent_indent="          ")


def print_result(result) -> None:
    print(protocol(result))
    print(result.summary)
    width = max(len(name) for name in result.per_class)
    for name, value in result.per_class.items():
        print(" AP of %-*s %s" % (width, one_line(name), "-" if value != value else "%.3f" % value))
    for name in result.unknown:
        command.say("eval: the model does not know %s; it counts with AP 0" % one_line(name))
    command.say(
        "eval: %d images in %.0f s, %.1f images a second"
        % (result.images, result.seconds, result.images_per_second)
    )
