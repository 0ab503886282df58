"""Converts an exported graph to a form of todus/forms.py; the convert-*.sh scripts run this.

MODEL_DIR=model/NAME python -m todus.commands.convert FORM
"""

import os
import sys
from typing import List, Optional

from todus import command, forms
from todus.commands import chosen_model, preflight
from todus.errors import UsageError


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("todus.commands.convert", __doc__)
    names = ", ".join(form.name for form in forms.FORMS if form.exporter)
    parser.add_argument("form", metavar="FORM", help=names)
    form = forms.find(parser.parse_args(argv).form)
    if not form.exporter:
        raise UsageError("%s comes from another command: %s" % (form.title, form.command))
    model = chosen_model()
    exporter = forms.loaded(form.exporter)
    preflight.convert(*exporter.NEEDS)
    command.say("%s, for %s" % (form.title, form.device))
    print("\n".join(exporter.run(model, command.say)))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(os.environ.get("TODUS_COMMAND", "convert"), main))
