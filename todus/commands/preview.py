"""Draws some images of a dataset with their boxes, and counts box sizes in the network's input.

  python -m todus.commands.preview DATASET [--images 24] [--size WIDTHxHEIGHT | -m MODEL]

DATASET is a name as -d takes it. Writes preview.png and preview.html into the dataset's folder and
prints the counts. --size is the network's input (default: 300x300); -m takes it from a prepared
model's pipeline.config.
"""

import sys
from typing import List, Optional

from todus import command, paths, variables
from todus.commands.arguments import add_model
from todus.preview.preview import input_size, preview


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("todus.commands.preview", __doc__)
    parser.add_argument("dataset", metavar="DATASET")
    count = command.typed(variables.Whole(1, 400))
    parser.add_argument("--images", metavar="N", type=count, default=24)
    parser.add_argument("--size", metavar="WxH", default="300x300")
    add_model(parser, default="")
    given = parser.parse_args(argv)
    preview(paths.dataset(given.dataset), given.images, input_size(given.size, given.model))
    return 0


if __name__ == "__main__":
    sys.exit(command.run("preview", main))
