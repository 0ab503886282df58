"""The results as a table for the terminal and for the README."""

import re
from typing import Any, Dict, List

from todus import files, text
from todus.errors import TodusError
from todus.paths import REPO

FOLDER = REPO / "docs" / "proof"
README = REPO / "README.md"
BLOCK = re.compile(r"(?s)(<!-- proof -->\n).*?(<!-- /proof -->)")


def cells(row: Dict[str, Any]) -> List[str]:
    """Of a row of results.json: what runs where, AP, milliseconds and megabytes, all -> limited."""
    pairs = [
        "%s → %s" % tuple(form % row[side][key] for side in ("whole", "limited"))
        for key, form in (("ap", "%.3f"), ("ms_processor", "%.1f"), ("mb", "%.1f"))
    ]
    return ["%s, %s" % (row["form"], row["runtime"])] + pairs


def head(found: Dict[str, Any]) -> List[str]:
    row = found["rows"][0]
    classes = "%d → %d classes" % (row["whole"]["classes"], row["limited"]["classes"])
    return [classes, "AP", "ms an image", "MB"]


def equality(found: Dict[str, Any]) -> str:
    """A sentence on the detections of the kept classes."""
    equals = [row["equal"] for row in found["rows"]]
    total, missing = (sum(each[key] for each in equals) for key in ("detections", "missing"))
    if missing:
        return "%d of %d detections of the kept classes differ." % (missing, total)
    most = max(each["score_difference"] for each in equals)
    words = "with scores that differ by at most %.0e" % most if most else "with equal scores"
    text = "The limited models give all %s detections of the kept classes again, %s."
    return text % ("{:,}".format(total), words)


def facts(found: Dict[str, Any]) -> str:
    """A sentence on what was measured."""
    dataset, machine = found["dataset"], found["machine"]
    words = (
        "%s; %d images with %d boxes of %s; score threshold %g; ms of processor, one thread, %s."
    )
    return words % (
        found["model"],
        dataset["images"],
        dataset["boxes"],
        ", ".join(dataset["classes"]),
        found["score_threshold"],
        machine["processor"],
    )


def lines(found: Dict[str, Any]) -> List[str]:
    """For the terminal."""
    result = text.table([head(found)] + [cells(row) for row in found["rows"]], left=1)
    return result + ["training steps: 0. " + equality(found), facts(found)]


def block() -> str:
    """What belongs between the README's markers, from the results under docs/proof."""
    folder = FOLDER / ("coco" if (FOLDER / "coco" / "results.json").exists() else "miniature")
    found = files.read_json(folder / "results.json")
    rows = [head(found), ["---"] + ["---:"] * 3] + [cells(row) for row in found["rows"]]
    table = "".join("| %s |\n" % " | ".join(row) for row in rows)
    images = "real COCO images" if folder.name == "coco" else "drawn images"
    words = "Training steps: 0. %s Measured on %d %s (%s), in milliseconds of processor of one "
    words += "thread; `make proof` measures again: [docs/proof](docs/proof/README.md)."
    dataset = found["dataset"]
    values = (equality(found), dataset["images"], images, ", ".join(dataset["classes"]))
    return "%s\n%s\n" % (table, _wrapped(words % values))


def _wrapped(paragraph: str) -> str:
    import textwrap

    return textwrap.fill(paragraph, 100, break_long_words=False, break_on_hyphens=False)


def write_readme() -> None:
    """Puts the table between the README's markers. Raises TodusError where they are missing."""
    old = README.read_text(encoding="utf-8")
    if not BLOCK.search(old):
        words = "%s has no line <!-- proof --> with a line <!-- /proof --> below; add both"
        raise TodusError(words % README)
    new = BLOCK.sub(lambda match: match.group(1) + block() + match.group(2), old)
    files.write_text(README, new)
