"""Checks this machine, its Python and the files under TODUS_HOME; prints how to mend each fault.

  make doctor
  python -m todus.commands.doctor [--deep] [--offline] [--json]

Environment: TODUS_HOME, and the mirrors to check: COCO_URL, ZOO_URL, OPENIMAGES_URL. Exit codes:
0, 1 for an error (no network and no GPU are warnings), 2 for wrong usage.
"""

import json
import sys
from typing import List, Optional

from todus import command
from todus.doctor import findings
from todus.doctor.examine import examine
from todus.doctor.findings import Finding


def parser() -> command.Parser:
    result = command.Parser("todus.commands.doctor", __doc__)
    text = "also import TensorFlow and try a rewrite, an evaluation and a conversion"
    result.add_argument("--deep", action="store_true", help=text)
    result.add_argument("--offline", action="store_true", help="check no mirror")
    result.add_argument("--json", action="store_true", help="print one JSON object")
    return result


def main(argv: Optional[List[str]] = None) -> int:
    arguments = parser().parse_args(argv)
    show = (lambda finding: None) if arguments.json else print_finding
    found = examine(arguments.deep, arguments.offline, show)
    numbers = findings.counted(found)
    if arguments.json:
        result = {"counts": numbers, "findings": [finding._asdict() for finding in found]}
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print(findings.summary(found))
    return 1 if numbers["error"] else 0


def print_finding(finding: Finding) -> None:
    print("\n".join(findings.lines(finding)), flush=True)


if __name__ == "__main__":
    sys.exit(command.run("doctor", main))
