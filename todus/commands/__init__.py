"""The commands behind the scripts: each reads its settings and calls one thing in the library."""

import os

from todus.errors import UsageError
from todus.paths import Model


def chosen_model() -> Model:
    """The model in MODEL_DIR. Raises TodusError where it is unset or names no prepared model."""
    folder = os.environ.get("MODEL_DIR", "")
    if not folder:
        raise UsageError(
            "MODEL_DIR is not set; run the script at the top, or export MODEL_DIR=model/NAME"
        )
    return Model(os.path.abspath(folder)).check()
