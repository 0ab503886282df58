"""COCO average precision of a model on the val records of its dataset.

  python -m eval -m MODEL                      the zoo's frozen graph
  python -m eval -m MODEL -i                   the exported inference graph
  python -m eval -m MODEL --checkpoint latest  a checkpoint (eval.sh does this)
  python -m eval -m MODEL --format tflite      a converted model: tflite, tflite-float16, onnx ...
  python -m eval -m MODEL --all                every format; writes eval.json and eval.png
  python -m eval -m MODEL -c person dog        only these classes

MODEL is a folder under model/, such as ssd_mobilenet_v1_coco_2018_01_28. METRICS=coco, pascal or
openimages chooses the definition of AP (default: coco). --all picks a score threshold for each
class and writes it to FILE.json of each converted model: the threshold with the best F1 or, with
PRECISION=0.9, the one with that precision. Classes are matched by name, not by id.
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import textwrap
import time

from todus import command, files, paths, variables
from todus.commands import preflight
from todus.commands.arguments import add_form, add_inference_graph, add_model, chosen_form
from todus.detection import catalogue
from todus.errors import UsageError
from todus.model import artefacts, prepared
from todus.text import one_line, table


def parser() -> command.Parser:
    result = command.Parser("eval", __doc__)
    add_model(result, required=True)
    add_inference_graph(result)
    add_form(result)
    text = "every format present, on the same images at the same score threshold"
    result.add_argument("--all", action="store_true", help=text)
    result.add_argument("-c", "--categories", metavar="NAME", nargs="+", help="only these classes")
    text = "another dataset than the model was prepared for"
    result.add_argument("-d", "--dataset", metavar="NAME", help=text)
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
    text = "also write ap, ap50, ap75, per_class, images there"
    result.add_argument("--json", metavar="FILE", help=text)
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
    form = chosen_form(model, arguments, "frozen_graph" if arguments.inference_graph else "zoo")
    if form.name == "checkpoint":
        preflight.check_checkpoint(form.path)
    own = catalogue.score_threshold(model, form) or 0.0
    threshold = max(own, arguments.score_threshold)
    where = "%s of dataset %s" % (arguments.split, dataset.name)
    command.say("eval: %s, score threshold %g, on %s" % (form.path, threshold, where))
    result = evaluate(model, form, dataset, arguments, arguments.score_threshold)
    print_result(result)
    if arguments.json:
        files.write_json(arguments.json, result.as_dict())
    return 0


def evaluate(model: paths.Model, form, dataset, arguments, score_threshold: float):
    """The average_precision.Evaluation of one form, without detections below `score_threshold`."""
    from todus.evaluation import average_precision

    return average_precision.evaluate(
        catalogue.open_form(model, form, 1),
        dataset,
        arguments.split,
        arguments.categories,
        arguments.limit,
        score_threshold,
        Ticker(),
        arguments.metrics,
    )


def evaluate_all(model: paths.Model, dataset, arguments) -> int:
    """Evaluates every format on the same records at one score threshold.

    That threshold is the highest of --score-threshold and those inside the formats.
    """
    from todus.evaluation import precision_recall, score_thresholds

    precision = variables.value("PRECISION", "eval")
    checkpoint = arguments.checkpoint
    if checkpoint is None:
        checkpoint = catalogue.exported_from(model)
    forms = catalogue.present(model, checkpoint, lambda line: command.say("eval: %s" % line))
    inside = [catalogue.score_threshold(model, form) or 0.0 for form in forms]
    threshold = max([arguments.score_threshold] + inside)
    where = "%s of dataset %s" % (arguments.split, dataset.name)
    command.say(
        "eval: %d formats of %s, score threshold %g for each, on %s"
        % (len(forms), model.name, threshold, where)
    )
    results, entries = {}, []
    for form in forms:
        command.say("eval: %s" % form.path)
        result = results[form.title] = evaluate(model, form, dataset, arguments, threshold)
        first = next(iter(results.values()))
        picked = score_thresholds.pick_all(result.matches, precision)
        if arguments.split == "val" and not arguments.limit:
            score_thresholds.store(form.path, picked, precision, result.images)
        entries.append(entry_of(form, result, picked, threshold, first))
        entries[-1]["classes"] = list(artefacts.of_model(model).classes)
    print_table(entries, first)
    written = [model.folder / name for name in ("eval.json", "eval.png")]
    files.write_json(written[0], entries)
    precision_recall.draw(written[1], results)
    if arguments.json:
        files.write_json(arguments.json, entries)
    print("written: %s, %s" % tuple(written))
    return 0


def entry_of(form, result, picked, threshold, first) -> dict:
    """The entry of one format in eval.json; NaN, which means no groundtruth, becomes null."""
    drop = first.ap - result.ap
    return dict(
        result.as_dict(),
        format=form.name,
        title=form.title,
        file=form.path.name,
        bytes=catalogue.bytes_of(form),
        drop=None if drop != drop else drop,
        score_threshold=threshold,
        protocol=result.protocol,
        thresholds=picked,
    )


def print_table(entries, first) -> None:
    print(protocol(first))
    columns = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop")
    rows = [["format"] + [name.replace("ap_", "") for name in columns] + ["images/s", "MB"]]
    for entry in entries:
        values = ["-" if entry[name] is None else "%.4f" % entry[name] for name in columns]
        values += ["%.1f" % entry["images_per_second"], "%.1f" % (entry["bytes"] / 1e6)]
        rows.append([entry["title"]] + values)
    print("\n".join(table(rows)))
    last = entries[-1]
    for name in first.per_class:
        found = [entry["per_class"][name] for entry in entries]
        values = " ".join("-" if value is None else "%.3f" % value for value in found)
        line = "  AP of %s: %s" % (one_line(name), values)
        picked = last["thresholds"].get(name)
        if picked:
            line += "; %s: keep scores from %.2f on" % (last["title"], picked["threshold"])
        print(line)


class Ticker:
    """Prints the number of evaluated images every ten seconds."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self._printed >= 10:
            self._printed = time.monotonic()
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
