"""COCO average precision of a model on the val records of its dataset, or on its test records.

  python -m eval -m MODEL                      the zoo's frozen graph
  python -m eval -m MODEL -i                   the exported inference graph
  python -m eval -m MODEL --checkpoint latest  a checkpoint (eval.sh does this)
  python -m eval -m MODEL --format tflite      a converted model: tflite, tflite-float16, onnx ...
  python -m eval -m MODEL --format tflite --runtime litert       in the program of devices
  python -m eval -m MODEL --all                every format; writes eval.json and eval.png
  python -m eval -m MODEL -c person dog        only these classes
  python -m eval -m MODEL --all --split test   on images that no choice was made on
  python -m eval -m MODEL -i --errors          also model/MODEL/errors/: which pictures are wrong

--runtime litert, onnxruntime or openvino runs a .tflite or .onnx file in the newest of them, which
make runtimes installs; where that is done it is the default. --runtime venv is TensorFlow 1.15's
interpreter, or the ONNX Runtime of .venv. THREADS is of one call (default: one; each core has one).

MODEL is a folder under model/, such as ssd_mobilenet_v1_coco_2018_01_28. METRICS=coco, pascal or
openimages chooses the definition of AP (default: coco). --all on val picks a score threshold for
each class: the threshold with the best F1 or, with PRECISION=0.9, the one with that precision. For
all classes and images of the model's own dataset it writes them to FILE.json of each converted
model. False alarms are detections in images without a box, at these thresholds; without them at
--score-threshold or that of pipeline.config. Classes are matched by name, not by id. ALLOW_OPS
names operators of a graph to run beside the known ones (docs/reliability.md).
Exit codes: 0, 1 for an error, 2 for wrong usage.
"""

import math
import sys
import textwrap

from todus import command, files, paths, variables
from todus.commands import preflight
from todus.commands.arguments import (
    add_form,
    add_inference_graph,
    add_model,
    add_runtime,
    chosen_form,
)
from todus.dataset.records import reader
from todus.detection import catalogue, runtimes
from todus.errors import UsageError
from todus.model import artefacts, prepared
from todus.progress import Ticker
from todus.text import one_line, shortened, table

MOST_COLUMNS = 8  # classes in the printed confusion matrix


def parser() -> command.Parser:
    result = command.Parser("eval", __doc__)
    add_model(result, required=True)
    add_inference_graph(result)
    add_form(result)
    add_runtime(result)
    text = "every format present, on the same images at the same score threshold"
    result.add_argument("--all", action="store_true", help=text)
    result.add_argument("-c", "--categories", metavar="NAME", nargs="+", help="only these classes")
    text = "another dataset than the model was prepared for"
    result.add_argument("-d", "--dataset", metavar="NAME", help=text)
    text = "which records: val, test or train (default: val)"
    result.add_argument("--split", metavar="NAME", default="val", help=text)
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
    text = "also write model/NAME/errors/: confusion matrix, worst pictures, COCO's results.json"
    result.add_argument("--errors", action="store_true", help=text)
    text = "also write ap, ap50, ap75, per_class, false_alarms, images there"
    result.add_argument("--json", metavar="FILE", help=text)
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.all and (arguments.format or arguments.inference_graph):
        raise UsageError("--all is every format; leave out --format and -i")
    if arguments.all and arguments.errors:
        raise UsageError("--errors is of one format; leave out --all")
    model = paths.model(arguments.model).check()
    dataset = (
        paths.dataset(arguments.dataset).check()
        if arguments.dataset
        else prepared.dataset_of(model)
    )
    from todus.evaluation import average_precision, false_alarms

    preflight.evaluate(dataset, arguments.split)
    arguments.metrics = variables.value("METRICS", "eval")
    average_precision.wanted_classes(dataset, arguments.categories)
    if arguments.all:
        return evaluate_all(model, dataset, arguments)
    form = chosen_form(model, arguments, "frozen_graph" if arguments.inference_graph else "zoo")
    runtime = runtimes.choose(arguments.runtime, form.name)
    if form.name == "checkpoint":
        preflight.check_checkpoint(form.path)
    own = catalogue.score_threshold(model, form) or 0.0
    threshold = max(own, arguments.score_threshold)
    where = "%s of dataset %s" % (arguments.split, dataset.name)
    command.say("eval: %s, score threshold %g, on %s" % (form.shown, threshold, where))
    result = evaluate(model, form, runtime, dataset, arguments, arguments.score_threshold)
    at = thresholds_of(model, form, result, arguments)
    alarms = false_alarms.measure(result, at)
    print_result(result, alarms)
    if arguments.errors:
        write_errors(model, dataset, result, at)
    if arguments.json:
        content = dict(result.as_dict(), dataset=dataset.name, false_alarms=alarms)
        files.write_json(arguments.json, content)
    return 0


def write_errors(model: paths.Model, dataset, result, at) -> None:
    """Writes model/NAME/errors/ and prints the confusion matrix. `at` is false_alarms.Thresholds.

    A class without a threshold of its own gets the one with the best F1.
    """
    from todus.evaluation import error_files, errors, score_thresholds

    picked = score_thresholds.pick_all(result.matches)
    best = {name: each["threshold"] for name, each in picked.items() if each}

    def threshold_of(name: str) -> float:
        return at.by_class.get(name, best.get(name, at.otherwise))

    analysis = errors.analyse(result.truth, result.rows, threshold_of)
    folder = model.folder / "errors"
    error_files.write(folder, dataset, result, analysis)
    names = [one_line(name) for name in analysis.names[:-1]]
    print("groundtruth (rows) and detections, at scores from")
    print("  " + ", ".join("%s %.2f" % (one_line(n), threshold_of(n)) for n in analysis.names[:-1]))
    if len(names) <= MOST_COLUMNS:
        rows = [[""] + names + ["missed"]]
        for name, counts in zip(names + ["(nothing there)"], analysis.confusion.tolist()):
            rows.append([name] + [str(count) for count in counts])
        rows[-1][-1] = ""
        print("\n".join(table(rows)))
    wrong = len(analysis.pictures)
    print(
        "%d of %d images have errors; the worst: %s" % (wrong, result.images, folder / "worst.png")
    )


def thresholds_of(model: paths.Model, form, result, arguments, picked=None):
    """The false_alarms.Thresholds of a form for its evaluation.

    They are those in `picked`, else those in FILE.json. Classes without one have the score
    threshold of the evaluation, or that of pipeline.config where it is higher.
    """
    from todus.evaluation import false_alarms, score_thresholds

    if picked is None:
        by_class, source = score_thresholds.stored(form.path), paths.beside_json(form.path).name
        source = "the score thresholds in %s" % source
    else:
        by_class = {name: each["threshold"] for name, each in picked.items() if each}
        source = "the score thresholds picked on val"
    configured = catalogue.configured_threshold(model, form)
    otherwise = max(result.score_threshold, configured)
    where = "of --score-threshold" if arguments.score_threshold == otherwise else "of the formats"
    where = "of pipeline.config" if math.isclose(configured, otherwise, rel_tol=1e-6) else where
    plain = "score threshold %g %s" % (otherwise, where)
    missing = [name for name in result.per_class if name not in by_class]
    if len(missing) == len(result.per_class):
        source = plain
    elif missing:
        source += ", and %s for %s" % (plain, one_line(shortened(missing, 6)))
    return false_alarms.Thresholds(by_class, otherwise, source)


def evaluate(model: paths.Model, form, runtime, dataset, arguments, score_threshold: float):
    """The average_precision.Evaluation of one form, without detections below `score_threshold`."""
    from todus.evaluation import average_precision

    detector = catalogue.open_form(model, form, variables.value("THREADS", "eval") or 1, runtime)
    line = "in %s" % detector.runtime if runtime else runtimes.advice(form.name, form.title)
    if line:
        command.say("eval: %s" % line)
    return average_precision.evaluate(
        detector,
        dataset,
        arguments.split,
        arguments.categories,
        arguments.limit,
        score_threshold,
        Ticker("eval: %d of %d images", number_of_images(dataset, arguments)),
        arguments.metrics,
    )


def evaluate_all(model: paths.Model, dataset, arguments) -> int:
    """Evaluates every format on the same records at one score threshold.

    That threshold is the highest of --score-threshold and those inside the formats.
    """
    from todus.evaluation import false_alarms, precision_recall, score_thresholds

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
    selects, writes = arguments.split == "val", is_own_val(model, dataset, arguments)
    for form in forms:
        command.say("eval: %s" % form.shown)
        runtime = runtimes.choose(arguments.runtime, form.name, strict=False)
        result = evaluate(model, form, runtime, dataset, arguments, threshold)
        results[form.title] = result
        first = next(iter(results.values()))
        if selects:
            picked = score_thresholds.pick_all(result.matches, precision)
        else:
            picked = score_thresholds.at_stored(form.path, result.matches)
        if writes:
            score_thresholds.store(form.path, picked, precision, result.images)
        at = thresholds_of(model, form, result, arguments, picked if writes else None)
        entries.append(entry_of(form, result, picked, threshold, first))
        entries[-1].update(
            classes=list(artefacts.of_model(model).classes),
            dataset=dataset.name,
            false_alarms=false_alarms.measure(result, at),
        )
    print_table(entries, first)
    written = [model.folder / name for name in ("eval.json", "eval.png")]
    files.write_json(written[0], entries)
    precision_recall.draw(written[1], results)
    if arguments.json:
        files.write_json(arguments.json, entries)
    print("written: %s, %s" % tuple(written))
    return 0


def is_own_val(model: paths.Model, dataset, arguments) -> bool:
    """Whether all classes are evaluated, on all val images of the model's own dataset."""
    from todus.evaluation import average_precision

    own = (prepared.prepared_from(model) or {}).get("dataset")
    every = average_precision.wanted_classes(dataset, None)
    return (
        arguments.split == "val"
        and not arguments.limit
        and bool(own)
        and paths.dataset(own).folder.resolve() == dataset.folder.resolve()
        and average_precision.wanted_classes(dataset, arguments.categories) == every
    )


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
    from todus.evaluation import false_alarms

    print(protocol(first))
    columns = ("ap", "ap50", "ap75", "drop")  # more do not fit a terminal; eval.json has them
    rows = [["format", *columns, "images/s", "MB"]]
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
    for entry in entries:
        if entry["false_alarms"]:
            line = (entry["title"], false_alarms.described(entry["false_alarms"]))
            print("  %s: %s" % line)


def number_of_images(dataset, arguments) -> int:
    """How many images of the split are evaluated, by dataset.json."""
    entry = reader.read_manifest(dataset)["splits"].get(arguments.split, {})
    return min(entry.get("images", 0), arguments.limit or sys.maxsize)


def protocol(result) -> str:
    return textwrap.fill("protocol: %s" % result.protocol, 80, subsequent_indent="          ")


def print_result(result, alarms=None) -> None:
    from todus.evaluation import false_alarms, score_thresholds

    print(protocol(result))
    print(result.summary)
    width = max(len(name) for name in result.per_class)
    picked = score_thresholds.pick_all(result.matches) if result.split == "val" else {}
    for name, value in result.per_class.items():
        line = " AP of %-*s %s" % (width, one_line(name), "-" if value != value else "%.3f" % value)
        best = picked.get(name)
        if best:
            values = (best["threshold"], best["precision"], best["recall"])
            line += "   best F1 at score %.2f: precision %.2f, recall %.2f" % values
        print(line)
    if alarms:
        print(" " + false_alarms.described(alarms))
    for name in result.unknown:
        command.say("eval: the model does not know %s; it counts with AP 0" % one_line(name))
    command.say(
        "eval: %d images in %.0f s, %.1f images a second"
        % (result.images, result.seconds, result.images_per_second)
    )
