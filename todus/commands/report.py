"""Writes one HTML page about a model: model/NAME/report.html, which needs no network.

  make report MODEL=NAME
  python -m todus.commands.report -m NAME

The page shows the AP of every format, precision-recall and training curves, sample detections,
sizes, latencies, score thresholds, commands and versions, from the files of eval --all,
benchmark.sh and training. For each missing part it names the command that makes it.
"""

import os
import sys

from todus import command, paths
from todus.commands.arguments import add_model
from todus.errors import UsageError
from todus.report.page import write


def main(argv=None) -> int:
    parser = command.Parser("todus.commands.report", __doc__)
    add_model(parser, default=os.environ.get("MODEL"))
    name = parser.parse_args(argv).model
    if not name:
        raise UsageError("which model? make report MODEL=NAME")
    print(write(paths.model(name).check()))
    return 0


if __name__ == "__main__":
    sys.exit(command.run("report", main))
