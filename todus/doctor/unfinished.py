"""Locks that are held, and the files of interrupted commands under dataset/ and model/."""

import contextlib
import os
import re
import shlex
import socket
import time
from pathlib import Path
from typing import Iterator, List, Tuple

from todus import files, locks, paths
from todus.doctor import findings
from todus.doctor.findings import Finding
from todus.errors import TodusError

SECONDS = 1.0  # the search stops after this time: a folder can hold a million images
MOST = 8  # findings of one kind

_PART = re.compile(
    r"\.(.+)\.(?:part|scratch(?:-%s)?)-%s" % (re.escape(socket.gethostname()), files.OWNER)
)
_DOWNLOAD = re.compile(r"\.(.+)\.part")
_LOCK = re.compile(r"\.(.+)\.lock")
_FOLDER = re.compile(r"\.(.+)\.(new|old)")
_WORK = re.compile(r"\.(.+)\.(images|download)")


def check() -> Iterator[Finding]:
    """Findings on the hidden files below dataset/ and model/."""
    home = paths.home()
    hidden, complete = _hidden([home / "dataset", home / "model"])
    found = [finding for path in hidden for finding in _of_path(path)]
    for check_name in ("locks", "downloads", "unfinished"):
        of_kind = [finding for finding in found if finding.check == check_name]
        yield from of_kind[:MOST]
        if len(of_kind) > MOST:
            yield findings.info(check_name, "and %d more of this kind" % (len(of_kind) - MOST))
    if not complete:
        yield findings.info("unfinished", "not all files were checked within %g s" % SECONDS)
    elif not found:
        yield findings.ok("unfinished", "no held locks and no unfinished files under %s" % home)


def _hidden(roots: List[Path]) -> Tuple[List[Path], bool]:
    """Hidden entries, without those in hidden folders, and whether all folders were searched."""
    found, until = [], time.monotonic() + SECONDS
    for root in roots:
        for folder, inner, names in os.walk(str(root)):
            if time.monotonic() > until:
                return found, False
            found += [Path(folder) / name for name in sorted(inner + names) if name.startswith(".")]
            inner[:] = [name for name in inner if not name.startswith(".")]
    return found, True


def _of_path(path: Path) -> Iterator[Finding]:
    name = path.name
    lock, part, download = _LOCK.fullmatch(name), _PART.fullmatch(name), _DOWNLOAD.fullmatch(name)
    folder, work = _FOLDER.fullmatch(name), _WORK.fullmatch(name)
    if lock and path.is_file():
        yield from _of_lock(path, path.with_name(lock.group(1)))
    elif part:
        if not files.is_written(path, int(part.group(2)), bool(part.group(3))):
            yield _removable(path, "%s: PID %s ended while writing it" % (path, part.group(2)))
    elif download and path.is_file():
        if not held(path.with_name(download.group(1))):
            yield _of_download(path)
    elif folder and path.is_dir():
        yield from _of_folder(path, path.with_name(folder.group(1)))
    elif work and path.is_dir() and not held(path.with_name(work.group(1))):
        # The next run resumes a download in such a folder.
        parts = [each for each in path.iterdir() if _DOWNLOAD.fullmatch(each.name)]
        yield _of_download(parts[0]) if parts else _of_killed(path)


def _removable(path: Path, text: str) -> Finding:
    remedy = "run the same command again, or " + remove(path)
    return findings.warning("unfinished", text, remedy)


def _of_killed(path: Path) -> Finding:
    return _removable(path, "%s is unfinished: its command was killed" % path)


def remove(path: Path) -> str:
    """The shell command that removes a file or folder."""
    return "rm %s%s" % ("-r " if path.is_dir() else "", shlex.quote(str(path)))


def held(path: Path) -> bool:
    """Whether a process holds the lock of `path`."""
    return locks.holder(path) is not None


def _of_lock(lock: Path, covered: Path) -> Iterator[Finding]:
    holder = locks.holder(covered)
    if holder:
        text = "%s is in use by %s" % (covered, holder.named or "another process")
        remedy = "wait until it ends; for a training: ./train.sh --status or --stop"
        yield findings.info("locks", text, remedy)
    elif lock.exists():
        text = "%s is not held: its process was killed" % lock
        yield findings.info("locks", text, "none needed: the next command takes the lock")


def _of_download(part: Path) -> Finding:
    target = part.with_name(_DOWNLOAD.fullmatch(part.name).group(1))
    size = None
    with contextlib.suppress(TodusError, AttributeError):  # no such file, damaged, or no object
        size = files.read_json(files.beside(target, "part.json")).get("size")
    done = part.stat().st_size / 1e6
    amount = "%.1f of %.1f MB" % (done, size / 1e6) if size else "%.1f MB" % done
    text = "%s: %s downloaded" % (target, amount)
    return findings.info("downloads", text, "the command that downloads it resumes it")


def _of_folder(path: Path, target: Path) -> Iterator[Finding]:
    """A folder of `files.replacing_folder` whose process is no longer there."""
    if held(target) or held(target.parent):
        return
    if path.name.endswith(".old") and not target.exists():
        text = "%s was renamed to %s, and its command was killed" % (target, path.name)
        remedy = "mv %s %s" % (shlex.quote(str(path)), shlex.quote(str(target)))
        yield findings.error("unfinished", text, remedy)
    else:
        yield _of_killed(path)
