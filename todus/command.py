"""What all commands share: argument parser, error line, exit code, environment."""

import argparse
import errno
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Callable, List, Optional, Union

from todus import variables
from todus.errors import TodusError, UsageError
from todus.text import has_control_characters, one_line

REPO = Path(__file__).resolve().parent.parent
Main = Callable[[Optional[List[str]]], Optional[int]]

_FREE_DISK = "free some disk space and run this again"
_PERMIT = "change its permissions, or set TODUS_HOME to a folder that you can write to"
_REMEDIES = {
    errno.ENOSPC: _FREE_DISK,
    errno.EDQUOT: _FREE_DISK,
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EROFS: "set TODUS_HOME to a folder that you can write to",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose help is the module's docstring; it raises UsageError."""

    def __init__(self, prog: str, doc: str):
        super().__init__(
            prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> None:
        raise UsageError("%s; see python -m %s --help" % (message, self.prog))


def typed(kind: variables.Text) -> Callable[[str], Any]:
    """The `type` for add_argument that reads an argument as an environment variable of a kind."""

    def read(text: str) -> Any:
        try:
            return kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError("%s: give %s" % (one_line(text), kind.range))

    return read


def run(name: str, main: Main, argv: Optional[List[str]] = None) -> int:
    """Runs main(argv) and returns the exit code: 0, 1 (error), 2 (wrong usage) or 130 (Ctrl-C).

    An error is printed as one line on stderr; with TODUS_DEBUG set it is raised.
    """
    try:
        return main(argv) or 0
    except KeyboardInterrupt:
        print("%s: interrupted; run the same command again to resume" % name, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (TodusError, OSError, MemoryError) as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        text = str(error) if isinstance(error, TodusError) else _system_message(error)
        print("%s: %s" % (name, one_line(text)), file=sys.stderr)
        return getattr(error, "exit_code", 1)


def _system_message(error: Union[OSError, MemoryError]) -> str:
    if isinstance(error, MemoryError):
        remedy = "close other programs, or set JOBS=1 or a smaller BATCH_SIZE, and run this again"
        return "out of memory; %s" % remedy
    where = " %s" % error.filename if error.filename else ""
    remedy = _REMEDIES.get(error.errno, "fix this and run the command again")
    return "%s:%s; %s" % (error.strerror or error, where, remedy)


def say(text: str = "") -> None:
    """Prints a message to stderr, without terminal escapes; stdout is for results."""
    lines = text.split("\n")
    safe = [one_line(line) if has_control_characters(line) else line for line in lines]
    print("\n".join(safe), file=sys.stderr, flush=True)


def run_in_environment(name: str, module: str) -> int:
    """Runs a module's main under a Python that has Todus's packages, and returns the exit code."""

    def main(argv: Optional[List[str]]) -> Optional[int]:
        for line in variables.check(name, os.environ):
            say("%s: %s" % (name, line))
        _use_repo_environment()
        return importlib.import_module(module).main(argv)

    return run(name, main)


def _use_repo_environment() -> None:
    """Restarts the process under .venv if packages are missing and no environment is active.

    Raises TodusError if packages are missing and the process cannot be restarted.
    """
    if importlib.util.find_spec("object_detection"):
        return
    python = REPO / ".venv" / "bin" / "python"
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if not active and sys.prefix == sys.base_prefix and python.exists():
        os.execv(str(python), [str(python), "-m", Path(sys.argv[0]).stem] + sys.argv[1:])
    raise TodusError(
        "%s lacks the packages that Todus needs; run make install, then: source .venv/bin/activate"
        % sys.executable
    )
