"""Reads every record of a dataset and prints its faults.

  python -m todus.commands.verify DIR    a folder, or a name as -d takes it

Exits with 1 for any fault, after a line for each with its shard, offset and image.
"""

import sys
from pathlib import Path
from typing import List, Optional

from todus import paths
from todus.command import Parser, run, say
from todus.dataset.records import verify
from todus.errors import TodusError
from todus.text import one_line


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("todus.commands.verify", __doc__)
    parser.add_argument("dataset", metavar="DIR")
    name = parser.parse_args(argv).dataset
    folder = Path(name)
    dataset = paths.Dataset(folder.resolve()) if folder.is_dir() else paths.dataset(name)
    counts, problems = verify.dataset(dataset)
    for split, found in counts.items():
        totals = (split, found.images, found.boxes, found.negatives)
        more = ", %d repeats" % found.repeats if found.repeats else ""
        print("%s: %d images, %d boxes, %d negatives%s" % (*totals, more))
        for each in sorted(found.boxes_of):
            row = (one_line(each), found.images_of[each], found.boxes_of[each])
            print("  %-20s %7d images %8d boxes" % row)
    for problem in problems:
        say(problem)
    if problems:
        raise TodusError("%s has %d faults; build it again" % (dataset.folder, len(problems)))
    print("%s: no fault" % dataset.folder)
    return 0


if __name__ == "__main__":
    sys.exit(run("verify", main))
