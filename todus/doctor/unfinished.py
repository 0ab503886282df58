"""Locks that are held, and what killed or interrupted commands left under dataset/ and model/."""

import os
import re
import shlex
import time
from pathlib import Path
from typing import Iterator, List, Tuple

from todus import files, locks, paths
from todus.doctor.findings import Finding

SECONDS = 1.0  # for the walk; folders of a million images are not walked to their end
MOST = 8  # findings of one kind

_PART = re.compile(r"\.(.+)\.(?:part|scratch)-(\d+)")
_DOWNLOAD = re.compile(r"\.(.+)\.part")
_LOCK = re.compile(r"\.(.+)\.lock")
_FOLDER = re.compile(r"\.(.+)\.(new|old)")
_WORK = re.compile(r"\.(.+)\.(images|download)")


def check() -> Iterator[Finding]:
    """Findings on the hidden files below dataset/ and model/."""
    home = paths.home()
    hidden, whole = _hidden([home / "dataset", home / "model"])
    found = [finding for path in hidden for finding in _finding(path)]
    for check_name in ("locks", "downloads", "unfinished"):
        of_kind = [finding for finding in found if finding.check == check_name]
        yield from of_kind[:MOST]
        if len(of_kind) > MOST:
            yield Finding("info", check_name, "and %d more of this kind" % (len(of_kind) - MOST))
    if not whole:
        yield Finding(
            "info", "unfinished", "there are more files than could be looked at in %g s" % SECONDS
        )
    elif not found:
        yield Finding(
            "ok", "unfinished", "no lock is held, and nothing is left half-finished at %s" % home
        )


def _hidden(roots: List[Path]) -> Tuple[List[Path], bool]:
    """Hidden entries, not those in hidden folders, and whether the walk came to its end."""
    found, until = [], time.monotonic() + SECONDS
    for root in roots:
        for folder, inner, names in os.walk(str(root)):
            if time.monotonic() > until:
                return found, False
            found += [Path(folder) / name for name in sorted(inner + names) if name.startswith(".")]
            inner[:] = [name for name in inner if not name.startswith(".")]
    return found, True


def _finding(path: Path) -> Iterator[Finding]:
    name = path.name
    lock, part, download = _LOCK.fullmatch(name), _PART.fullmatch(name), _DOWNLOAD.fullmatch(name)
    folder, work = _FOLDER.fullmatch(name), _WORK.fullmatch(name)
    if lock and path.is_file():
        yield from _of_lock(path, path.with_name(lock.group(1)))
    elif part:
        if not files.is_running(int(part.group(2))):
            text = "%s was being written when PID %s ended" % (path, part.group(2))
            yield Finding(
                "warning", "unfinished", text, "the same command clears it; or " + remove(path)
            )
    elif download and path.is_file():
        if not held(path.with_name(download.group(1))):
            yield _of_download(path, path.with_name(download.group(1)))
    elif folder and path.is_dir():
        yield from _of_folder(path, path.with_name(folder.group(1)))
    elif work and path.is_dir() and not held(path.with_name(work.group(1))):
        yield from _of_work(path)


def _of_work(path: Path) -> Iterator[Finding]:
    """The folder for the downloads or the converted images of a command that has ended; a download in it is kept for the next run."""
    parts = [each for each in path.iterdir() if _DOWNLOAD.fullmatch(each.name)]
    if parts:
        yield _of_download(
            parts[0], parts[0].with_name(_DOWNLOAD.fullmatch(parts[0].name).group(1))
        )
    else:
        yield Finding(
            "warning",
            "unfinished",
            "%s was left by a command that was killed" % path,
            "the same command clears it; or " + remove(path),
        )


def remove(path: Path) -> str:
    return "rm %s%s" % ("-r " if path.is_dir() else "", shlex.quote(str(path)))


def held(path: Path) -> bool:
    """Whether somebody has the lock that covers `path`."""
    return locks.holder(path) is not None


def _of_lock(lock: Path, covered: Path) -> Iterator[Finding]:
    who = locks.holder(covered)
    if who:
        yield Finding(
            "info",
            "locks",
            "%s is in use by %s" % (covered, who.text or "another process"),
            "wait until it ends; a training: ./train.sh --status, --stop",
        )
    elif lock.exists():
        yield Finding(
            "info",
            "locks",
            "%s is held by nobody: its process was killed" % lock,
            "nothing to do: the next command takes it over",
        )


def _of_download(part: Path, target: Path) -> Finding:
    facts = files.beside(target, "part.json")
    size = None
    if facts.exists():
        try:
            size = files.read_json(facts).get("size")
        except (files.TodusError, AttributeError):
            size = None
    of = " of %.1f MB" % (size / 1e6) if size else ""
    text = "%s: %.1f%s are downloaded" % (target, part.stat().st_size / 1e6, of or " MB")
    return Finding("info", "downloads", text, "the command that wanted it goes on from there")


def _of_folder(path: Path, target: Path) -> Iterator[Finding]:
    """What `files.replacing_folder` has beside its folder while it works, and after it was killed."""
    if held(target) or held(target.parent):
        return
    if path.name.endswith(".old") and not target.exists():
        yield Finding(
            "error",
            "unfinished",
            "%s was moved aside when its command was killed" % target,
            "mv %s %s" % (shlex.quote(str(path)), shlex.quote(str(target))),
        )
        return
    yield Finding(
        "warning",
        "unfinished",
        "%s is half-finished: its command was killed" % path,
        "the same command clears it; or " + remove(path),
    )
