"""Makes a dataset from one source; the dataset-*.sh scripts run this.

python -m todus.commands.dataset SOURCE [ARGUMENT ...]
"""

import os
import sys
from typing import List, Optional

from todus import command, sources
from todus.errors import UsageError


def main(argv: Optional[List[str]] = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if not given:
        raise UsageError("name a source: %s" % ", ".join(source.name for source in sources.SOURCES))
    return sources.module_of(sources.find(given[0])).main(given[1:])


if __name__ == "__main__":
    sys.exit(command.run(os.environ.get("TODUS_COMMAND", "dataset"), main))
