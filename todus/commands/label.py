"""Labels a folder of images with a detector; dataset-label.sh runs this.

python -m todus.commands.label IMAGES -m MODEL
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from todus import categories, command, paths, variables
from todus.commands.arguments import add_form, add_model, add_runtime, chosen_form
from todus.dataset.image_folder import given_path
from todus.detection import catalogue, runtimes
from todus.errors import UsageError
from todus.labelling import folder, thresholds
from todus.model import prepare, zoo
from todus.text import one_line, shortened

NAME = "dataset-label"


def parser() -> command.Parser:
    result = command.Parser("todus.commands.label", "Labels images; see ./dataset-label.sh --help.")
    add_model(result, required=True)
    add_form(result)
    add_runtime(result)
    result.add_argument("images", metavar="IMAGES", help="a folder of images")
    return result


def main(argv: Optional[List[str]] = None) -> int:
    arguments = parser().parse_args(argv)
    root = given_path(arguments.images)
    out = variables.value("OUT", NAME)
    out = given_path(out) if out else root.with_name(root.name + "-labelled")
    work = folder.plan(root, out)
    if not work.images and not work.own:
        print("%s is up to date; nothing to do" % out)
        return finish(out)
    with folder.locked(out):
        work = folder.plan(root, out)
        folder.take_over(work)
        made = label(work, arguments) if work.images else folder.Labelled()
    return summary(work, made)


def label(work: folder.Work, arguments: Any) -> folder.Labelled:
    """Opens the detector and labels the images."""
    model = teacher(arguments.model)
    default = "frozen_graph" if model.frozen_graph.exists() else "zoo"
    form = chosen_form(model, arguments, default)
    runtime = runtimes.choose(arguments.runtime, form.name)
    detector = catalogue.open_form(model, form, variables.value("THREADS", NAME), runtime)
    names = kept(model, detector.names)
    at = thresholds.choose(model, form, names, variables.value("THRESHOLD", NAME))
    share = variables.value("DOUBTFUL", NAME)
    say("%s, classes %s" % (form.shown, one_line(shortened(names.values(), 6))))
    say("score threshold %s; doubtful from %g of it on" % (described(at), share))
    lowest, own = share * min(at.by_class.values()), catalogue.score_threshold(model, form) or 0.0
    if own > lowest:
        text = "this graph drops what scores below %g; --checkpoint pretrained, the slice, does not"
        say(text % own)
    about: Dict[str, Any] = {"model": model.name, "form": form.name, "file": form.path.name}
    about.update(thresholds=at.by_class, thresholds_from=at.source, doubtful_from=share)
    if folder.record(work.out, list(names.values()), about) and work.done:
        text = "%d images keep their labels of another model, threshold or class; for new ones "
        say(text % work.done + "name another folder with OUT")
    return folder.label(detector, work, at.by_class, share)


def teacher(name: str) -> paths.Model:
    """The model under model/, which is made of the zoo's with all its classes where it is new."""
    model = paths.model(name)
    is_mirror = zoo.base_url() != variables.defaults("model")["ZOO_URL"]
    if not model.pipeline.exists() and "/" not in name and (zoo.find(name) or is_mirror):
        say("no model %s yet; takes the zoo's, with all its classes" % name)
        words = ["-m", name, "--categories", "all"]
        prepare.prepare(model, prepare.Request(name, categories="all", command=words))
    return model.check()


def kept(model: paths.Model, known: Dict[int, str]) -> Dict[int, str]:
    """id -> name of the classes to label: CATEGORIES, else what the model is prepared for."""
    wanted = variables.value("CATEGORIES", NAME)
    if wanted:
        return categories.choose(wanted, known, "model %s" % model.name)
    own = categories.read_label_map(model.limited_label_map)
    found = {known[identity] for identity in categories.match_by_name(own, known).values()}
    if not found:
        text = "the zoo's graph of %s does not know %s; add --checkpoint latest, or set CATEGORIES"
        raise UsageError(text % (model.name, one_line(shortened(own.values(), 6))))
    return {identity: name for identity, name in known.items() if name in found}


def described(at: thresholds.Thresholds) -> str:
    """The thresholds and their source: "person 0.41, car 0.36 (picked on val)"."""
    values = ["%s %.2f" % (one_line(name), value) for name, value in at.by_class.items()]
    is_one = len(set(at.by_class.values())) == 1
    return "%s (%s)" % (
        "%g" % at.by_class[min(at.by_class)] if is_one else shortened(values, 6),
        at.source,
    )


def summary(work: folder.Work, made: folder.Labelled) -> int:
    counts = ["%s %d" % (one_line(name), count) for name, count in made.boxes.most_common()]
    listed = " (%s)" % shortened(counts, 6) if counts else ""
    print(
        "%s: %d images labelled, %d boxes%s"
        % (work.out, made.images, sum(made.boxes.values()), listed)
    )
    for count, what in (
        (made.doubtful, "with doubtful boxes, in doubtful/, to look at first"),
        (work.done, "had labels there already, which stay"),
        (len(work.own), "with XML of their own, copied as it is"),
        (made.unreadable, "left out: they cannot be read"),
        (len(work.same_name), "left out: another image has the name, with another ending"),
    ):
        if count:
            print("  %d %s" % (count, what))
    return finish(work.out)


def finish(out: Path) -> int:
    """Prints the commands to look at doubtful images and to make the dataset."""
    doubtful = sorted({str(path.parent) for path in (out / "doubtful").rglob("*.xml")})
    for each in doubtful[:1]:
        folders = shlex.quote(each), shlex.quote(str(out / "classes.txt")), shlex.quote(each)
        more = "; then its %d other folders" % (len(doubtful) - 1) if doubtful[1:] else ""
        say("to correct them: labelImg %s %s %s" % folders + more)
        say("Space or Ctrl-S there accepts an image; until then its doubtful boxes do not count")
    print("next: ./dataset-voc.sh %s" % shlex.quote(str(out)))
    return 0


def say(line: str) -> None:
    command.say("%s: %s" % (NAME, line))


if __name__ == "__main__":
    sys.exit(command.run(os.environ.get("TODUS_COMMAND", NAME), main))
