"""What the scripts at the top call: each reads the environment, calls one thing, prints the next command."""

import os

from todus.errors import UsageError
from todus.paths import Model


def chosen_model() -> Model:
    """The model that the script chose and named in MODEL_DIR."""
    folder = os.environ.get("MODEL_DIR", "")
    if not folder:
        raise UsageError(
            "MODEL_DIR is not set; run the script at the top, or export MODEL_DIR=/path/to/model/NAME"
        )
    return Model(os.path.abspath(folder)).check()
