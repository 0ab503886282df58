"""What all commands share: argument parser, error line, exit code, environment."""

import argparse
import errno
import importlib
import importlib.util
import io
import logging
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, Callable, List, Optional, Union

from todus import __version__, variables
from todus.errors import TodusError, UsageError
from todus.text import first_line, has_control_characters, one_line, without_credentials

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

    An error is printed as one line on stderr; with TODUS_DEBUG set it is raised. The traceback of
    one that Todus does not expect is written to a file.
    """
    _open_standard_streams()
    warnings.filterwarnings("ignore", module="PIL")  # about the user's images
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    try:
        return _run(name, main, argv)
    except Exception as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        what = "%s: unexpected %s (%s); this is an error in Todus: please report it, with %s"
        reason = without_credentials(first_line(one_line(str(error))))
        facts = (name, type(error).__name__, reason, _report(name))
        print(what % facts, file=sys.stderr)
        return 1


def _run(name: str, main: Main, argv: Optional[List[str]]) -> int:
    try:
        code = main(argv) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("%s: interrupted; run the same command again to resume" % name, file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_stdout()
        return 0
    except (TodusError, OSError, MemoryError) as error:
        if os.environ.get("TODUS_DEBUG"):
            raise
        text = str(error) if isinstance(error, TodusError) else _system_message(error)
        print("%s: %s" % (name, without_credentials(one_line(text))), file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _drop_stdout()
        return getattr(error, "exit_code", 1)


def _report(name: str) -> str:
    """Writes the traceback of the present exception to a file; returns the file."""
    text = "todus %s, Python %s, %s\n\n" % (__version__, sys.version.split()[0], sys.argv[1:])
    try:
        handle, path = tempfile.mkstemp(prefix="todus-%s-" % name, suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(without_credentials(text + traceback.format_exc()))
        return path
    except OSError:
        return "what TODUS_DEBUG=1 prints"


class _Talk(io.FileIO):
    """The descriptor of stderr. What cannot be written is dropped.

    A closed pipe or a full disk must not end the work that is talked about.
    """

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) or len(rest) :]
        except OSError:
            pass
        return len(data)


def _open_standard_streams() -> None:
    """Opens /dev/null in place of a closed stdin, stdout or stderr, and makes stderr a _Talk.

    Else the next files that are opened get the numbers 0 to 2, and messages are written into them.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        os.set_inheritable(number, True)
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
    if sys.stdout is sys.__stdout__ and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that are not UTF-8
    if sys.stderr is sys.__stderr__:
        how = {"encoding": sys.stderr.encoding, "errors": "backslashreplace"}
        talk = _Talk(sys.stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(talk, line_buffering=True, write_through=True, **how)


def _drop_stdout() -> None:
    """Sends what is left of stdout to /dev/null; else Python exits with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_message(error: Union[OSError, MemoryError]) -> str:
    if isinstance(error, MemoryError):
        remedy = "close other programs, or set JOBS=1 or a smaller BATCH_SIZE, and run this again"
        return "out of memory; %s" % remedy
    where = ": %s" % error.filename if error.filename else ""
    remedy = _REMEDIES.get(error.errno, "fix this and run the command again")
    return "%s%s; %s" % (error.strerror or error, where, remedy)


def say(text: str = "") -> None:
    """Prints a message to stderr, without terminal escapes; stdout is for results."""
    lines = text.split("\n")
    safe = [one_line(line) if has_control_characters(line) else line for line in lines]
    print(without_credentials("\n".join(safe)), file=sys.stderr, flush=True)


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
        start = [str(python), str(REPO / "lib" / "start.py"), "-m", Path(sys.argv[0]).stem]
        os.execv(str(python), start + sys.argv[1:])
    raise TodusError(
        "%s lacks the packages that Todus needs; run make install, then: source .venv/bin/activate"
        % sys.executable
    )
