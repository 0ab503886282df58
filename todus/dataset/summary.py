"""Prints the summary of a dataset: counts, corrections, what was left out, the next command."""

from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from todus.command import say
from todus.dataset.labelled_images import LeftOut
from todus.dataset.preparation import Prepared
from todus.dataset.split import SPLITS
from todus.paths import Dataset
from todus.text import one_line, shortened, table

EXAMPLES = 3  # file names shown for a reason; dataset.json has them all
MOST_UNUSED = 100  # classes without a box that are printed
WIDEST_NAME = 32  # characters of a class name in the table
NEXT = "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d %s"


def print_summary(
    dataset: Dataset, manifest: Mapping[str, Any], prepared: Optional[Prepared] = None
) -> None:
    """Prints the counts, the next command and, with `prepared`, what was corrected and left out."""
    splits = manifest["splits"]
    images, boxes = (sum(entry[what] for entry in splits.values()) for what in ("images", "boxes"))
    names = [one_line(each["name"]) for each in manifest["categories"]]
    counts = counted(images, "image"), counted(boxes, "box", "boxes")
    classes = counted(len(names), "class", "classes")
    print("%s: %s, %s, %s" % (dataset.name, *counts, classes))
    for line in class_table(names, splits):
        print(line)
    for line in _repeat_lines(splits.get("train", {}), manifest["settings"]):
        print(line)
    for line in _warnings(names, splits):
        say(line)
    if prepared:
        _print_prepared(prepared)
    print(NEXT % dataset.name)


def _print_prepared(prepared: Prepared) -> None:
    for what, count in sorted(prepared.mended.items()):
        print("mended %d times: %s" % (count, what))
    for line in left_out_lines(prepared.left_out):
        print(line)
    dropped = sum((split.dropped for split in prepared.splits.values()), Counter())
    for reason, count in sorted(dropped.items()):
        if reason.startswith("box"):
            print("left out %d times: %s" % (count, reason))
    for line in prepared.notes:
        print(line)
    if prepared.unused:
        names = shortened((one_line(name) for name in prepared.unused), MOST_UNUSED)
        print("classes without a box: %s" % names)


def print_up_to_date(dataset: Dataset) -> None:
    print("%s is up to date; nothing to do" % dataset.name)
    print(NEXT % dataset.name)


def counted(number: int, one: str, several: str = "") -> str:
    """The number with its noun: "1 box", "2 boxes". `several` is the plural, else `one` + s."""
    return "%d %s" % (number, one if number == 1 else several or one + "s")


def class_table(names: Sequence[str], splits: Mapping[str, Any]) -> Iterator[str]:
    """Lines with the images and boxes of each class in each split.

    Args:
      names: of the classes.
      splits: split -> its entry in dataset.json; per_category and negatives are read.
    """
    rows: List[List[object]] = [["class"]]
    for split in splits:
        rows[0] += ["%s images" % split, "boxes"]
    for name in names:
        rows.append([name[:WIDEST_NAME]])
        for entry in splits.values():
            counts = entry["per_category"].get(name, {"images": 0, "boxes": 0})
            rows[-1] += [counts["images"], counts["boxes"]]
    if any(entry["negatives"] for entry in splits.values()):
        rows.append(["(no box)"])
        for entry in splits.values():
            rows[-1] += [entry["negatives"], ""]
    return ("  " + line for line in table(rows))


def _repeat_lines(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Lines about the further records of train images, by BALANCE and WEIGHTS."""
    if entry.get("repeats"):
        times = {
            name: 1 + more / max(1, entry["per_category"][name]["images"])
            for name, more in entry["repeats_of"].items()
        }
        listed = sorted(times, key=lambda name: -times[name])
        shown = ["%s %.1f times" % (one_line(name), times[name]) for name in listed]
        records = counted(entry["repeats"], "further record")
        yield "train has %s of these images: %s" % (records, shortened(shown, 8))
    elif settings.get("balance"):
        yield "BALANCE=%g repeats no image: no class is rare enough" % settings["balance"]


def _warnings(names: List[str], splits: Mapping[str, Any]) -> Iterator[str]:
    """A line for each split that has no box of some class."""
    for split, entry in splits.items():
        counts = entry["per_category"]
        lacking = [name for name in names if not counts.get(name, {"boxes": 0})["boxes"]]
        if lacking and split in SPLITS:
            result = "cannot be learnt" if split == "train" else "is not measured by eval"
            yield "warning: no box in %s of %s: %s" % (split, ", ".join(lacking[:12]), result)


def left_out_lines(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """A line for each reason, with the first files left out for it."""
    by_reason: Dict[str, List[str]] = {}
    for gone in left_out:
        by_reason.setdefault(gone.reason, []).append(gone.file)
    for reason, names in sorted(by_reason.items()):
        first = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
        yield "left out %d times: %s: %s" % (len(names), reason, first)
