"""Walks every record of a dataset and says what is wrong with it.

    python -m todus.commands.verify DIR             a folder, or a name as -d takes it

Exits with 1 when anything is wrong, after a line for each fault with its shard, offset and image.
"""

import sys
from pathlib import Path
from typing import List, Optional

from todus import paths
from todus.command import Parser, run, say
from todus.dataset.records import verify
from todus.errors import TodusError
from todus.paths import Dataset
from todus.text import one_line


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("todus.commands.verify", __doc__)
    parser.add_argument("dataset", metavar="DIR")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.dataset)
    dataset = Dataset(folder.resolve()) if folder.is_dir() else paths.dataset(arguments.dataset)
    counts, problems = verify.dataset(dataset)
    for split, found in counts.items():
        print(
            "%s: %d images, %d boxes, %d negatives"
            % (split, found.images, found.boxes, found.negatives)
        )
        for name in sorted(found.boxes_of):
            print(
                "  %-20s %7d images %8d boxes"
                % (one_line(name), found.images_of[name], found.boxes_of[name])
            )
    for problem in problems:
        say(problem)
    if problems:
        raise TodusError("%s has %d faults; build it again" % (dataset.folder, len(problems)))
    print("%s: no fault" % dataset.folder)
    return 0


if __name__ == "__main__":
    sys.exit(run("verify", main))
