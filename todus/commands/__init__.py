"""What the scripts at the top call: each reads the environment, calls one thing, prints the next command."""

import os

from todus.errors import UsageError
from todus.paths import Model


def chosen_model() -> Model:
    """The model that the script chose and named in MODEL_DIR."""
    folder = os.environ.get("MODEL_DIR", "")
    if not folder:
        raise UsageError("MODEL_DIR is not set; run the script at the top, or export MODEL_DIR=/path/to/model/NAME")
    return Model(os.path.abspath(folder)).check()


def number(name: str, kind, default):
    """An environment variable as a positive number; `default` where it is unset or empty."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        raise UsageError("%s=%s is not a number" % (name, text))
    if not 0 < value < float("inf"):
        raise UsageError("%s=%s must be more than 0" % (name, text))
    return value


def choice(name: str, choices, default: str) -> str:
    """An environment variable that has one of a few values."""
    value = os.environ.get(name, "").strip() or default
    if value not in choices:
        raise UsageError("%s=%s is unknown; there is: %s" % (name, value, ", ".join(choices)))
    return value
