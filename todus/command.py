"""What every command at the top shares: its environment, its exit code and the one line that a person reads when it fails."""

import argparse
import errno
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Callable, List, Optional

from todus import variables
from todus.errors import TodusError, UsageError
from todus.text import has_control_characters, one_line

REPO = Path(__file__).resolve().parent.parent


class Parser(argparse.ArgumentParser):
    """An argument parser whose help is the module's docstring and whose errors read like Todus's others."""

    def __init__(self, prog: str, doc: str):
        super().__init__(
            prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> None:
        raise UsageError("%s; see python -m %s --help" % (message, self.prog))


def typed(kind: variables.Text) -> Callable[[str], Any]:
    """The type of an argument, for add_argument: read as an environment variable of that kind is."""

    def read(text: str) -> Any:
        try:
            return kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError("%s: give %s" % (one_line(text), kind.range))

    return read


def run(
    name: str,
    main: Callable[[Optional[List[str]]], Optional[int]],
    argv: Optional[List[str]] = None,
) -> int:
    """Runs main(argv) and returns the exit code: 0, 1 for what went wrong, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        return main(argv) or 0
    except TodusError as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        print("%s: %s" % (name, one_line(str(error))), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("%s: interrupted; run the same command again to go on" % name, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        print("%s: %s" % (name, one_line(system_message(error))), file=sys.stderr)
        return 1


def system_message(error: BaseException) -> str:
    """A sentence for what the operating system refused."""
    if isinstance(error, MemoryError):
        return "out of memory; close other programs or set JOBS=1 or a smaller BATCH_SIZE, and run this again"
    where = " %s" % error.filename if getattr(error, "filename", None) else ""
    remedy = {
        "ENOSPC": "free some disk and run this again",
        "EDQUOT": "free some disk and run this again",
        "EACCES": "give yourself the right to it, or set TODUS_HOME to a place of your own",
        "EPERM": "give yourself the right to it, or set TODUS_HOME to a place of your own",
        "EROFS": "set TODUS_HOME to a place that can be written",
    }.get(_code(error), "mend that and run this again")
    return "%s:%s; %s" % (getattr(error, "strerror", None) or error, where, remedy)


def _code(error: BaseException) -> str:
    return errno.errorcode.get(getattr(error, "errno", None) or 0, "")


def say(text: str = "") -> None:
    """Talk goes to stderr, without terminal escapes; stdout is for results."""
    print(
        "\n".join(
            one_line(line) if has_control_characters(line) else line for line in text.split("\n")
        ),
        file=sys.stderr,
        flush=True,
    )


def run_in_environment(name: str, module: str) -> int:
    """Runs main of a module of todus.commands under a Python that has Todus's packages; returns the exit code, as `run` does."""

    def main(argv: Optional[List[str]]) -> Optional[int]:
        for line in variables.check(name, os.environ):
            say("%s: %s" % (name, line))
        use_repo_environment()
        return importlib.import_module(module).main(argv)

    return run(name, main)


def use_repo_environment() -> None:
    """Starts the process again under the repo's .venv when the running Python has not Todus's packages and nobody chose it.

    Raises TodusError where there is no such environment.
    """
    python = REPO / ".venv" / "bin" / "python"
    if importlib.util.find_spec("object_detection"):
        return
    chosen = (
        os.environ.get("VIRTUAL_ENV")
        or os.environ.get("CONDA_PREFIX")
        or sys.prefix != sys.base_prefix
    )
    if not chosen and python.exists():
        os.execv(str(python), [str(python), "-m", Path(sys.argv[0]).stem] + sys.argv[1:])
    raise TodusError(
        "%s has not the packages that Todus needs; run make install, then: source .venv/bin/activate"
        % sys.executable
    )
