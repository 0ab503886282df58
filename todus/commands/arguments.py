"""The arguments that several commands share."""

import argparse
from typing import Any

from todus import forms
from todus.detection import catalogue, runtimes
from todus.paths import Model


def add_model(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Adds -m; `more` is for add_argument."""
    parser.add_argument(
        "-m", "--model", metavar="NAME", help="a model under model/, or its folder", **more
    )


def add_form(parser: argparse.ArgumentParser) -> None:
    """Adds --format and --checkpoint, which `chosen_form` reads."""
    parser.add_argument("--format", metavar="FORM", help=forms.names())
    text = "model.ckpt-N, latest, best or pretrained (the slice)"
    parser.add_argument("--checkpoint", metavar="PREFIX", nargs="?", const="", help=text)


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Adds --runtime, for runtimes.choose."""
    text = "%s (default: the first that runs the format, where make runtimes has installed it)"
    parser.add_argument("--runtime", metavar="NAME", help=text % runtimes.names())


def add_inference_graph(parser: argparse.ArgumentParser) -> None:
    """Adds -i."""
    text = "use the exported graph instead of the zoo's"
    parser.add_argument("-i", "--inference-graph", action="store_true", help=text)


def chosen_form(model: Model, arguments: argparse.Namespace, default: str) -> catalogue.Present:
    """The form that --format or --checkpoint names, else the form named `default`."""
    name = arguments.format or (default if arguments.checkpoint is None else "checkpoint")
    return catalogue.find(model, name, arguments.checkpoint or "")
