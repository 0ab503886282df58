"""One HTML page about a model, with everything in it: python -m todus.commands.report -m NAME (make report MODEL=NAME).

Shows what was limited, the AP of every format, precision-recall and training curves, sample detections side by side, sizes and
latencies, score thresholds, commands and versions, from what eval --all, benchmark.sh and training left; a part that is missing says
which command makes it. Writes model/NAME/report.html, which needs no network.
"""

import os
import sys

from todus import command, paths
from todus.errors import UsageError
from todus.report.page import write


def main(argv=None) -> int:
    parser = command.Parser("todus.commands.report", __doc__)
    parser.add_argument(
        "-m",
        "--model",
        metavar="NAME",
        default=os.environ.get("MODEL"),
        help="a model under model/, or its folder",
    )
    name = parser.parse_args(argv).model
    if not name:
        raise UsageError("which model? make report MODEL=NAME")
    print(write(paths.model(name).check()))
    return 0


if __name__ == "__main__":
    sys.exit(command.run("report", main))
