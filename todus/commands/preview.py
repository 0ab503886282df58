"""A look at a dataset before training: some of its images with their boxes, and what the network will see of them.

    python -m todus.commands.preview DATASET [--images 24] [--size WIDTHxHEIGHT | -m MODEL]

DATASET is a name as -d takes it. Writes preview.png and preview.html into the dataset's folder and prints the counts. --size is the
network's input, 300x300 unless given; -m takes it from a prepared model's pipeline.config.
"""

import sys
from typing import List, Optional

from todus import command, paths, variables
from todus.command import Parser
from todus.preview.preview import input_size, preview


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("todus.commands.preview", __doc__)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument(
        "--images", metavar="N", type=command.typed(variables.Whole(1, 400)), default=24
    )
    parser.add_argument("--size", metavar="WxH", default="300x300")
    parser.add_argument("-m", "--model", metavar="MODEL", default="")
    arguments = parser.parse_args(argv)
    preview(
        paths.dataset(arguments.dataset),
        arguments.images,
        input_size(arguments.size, arguments.model),
    )
    return 0


if __name__ == "__main__":
    sys.exit(command.run("preview", main))
