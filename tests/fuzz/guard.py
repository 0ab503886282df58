"""Finds code that writes outside the folders that it may write to."""

import builtins
import contextlib
import functools
import io
import os
import pathlib
from pathlib import Path
from typing import Any, Callable, Iterator, Optional
from unittest import mock

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("mkdir", "unlink", "rmdir", "rename", "replace", "symlink", "chmod")


class Outside(BaseException):
    """Something outside is written. Derives from BaseException, so that no parser catches it."""


@contextlib.contextmanager
def writing_only_below(*folders: Path) -> Iterator[None]:
    """Raises Outside where Python code writes a file that is not below `folders`."""
    allowed = [os.path.realpath(str(folder)) for folder in folders]

    def check(path: Any, folder: Optional[int] = None) -> None:
        if isinstance(path, int):
            return
        base = os.getcwd() if folder is None else "/proc/self/fd/%d" % folder
        parent, name = os.path.split(os.path.join(base, os.fsdecode(path)).rstrip("/"))
        place = os.path.join(os.path.realpath(parent), name)
        is_below = any(place == each or place.startswith(each + os.sep) for each in allowed)
        if place != os.devnull and not is_below:
            raise Outside("writes %s" % place)

    def opening(real: Callable, is_writing: Callable[[Any], bool], default: Any) -> Callable:
        @functools.wraps(real)
        def guarded(path: Any, how: Any = default, *more: Any, **options: Any) -> Any:
            how = options.pop("mode", how) if default == "r" else how
            if is_writing(how):
                check(path, options.get("dir_fd"))
            return real(path, how, *more, **options)

        return guarded

    def changing(real: Callable) -> Callable:
        @functools.wraps(real)
        def guarded(*paths: Any, **options: Any) -> Any:
            for path in paths:
                if isinstance(path, (str, bytes, os.PathLike)):
                    check(path, options.get("dir_fd"))
            return real(*paths, **options)

        return guarded

    text_open = opening(io.open, lambda mode: bool(set(mode) & set("wax+")), "r")
    os_open = opening(os.open, lambda flags: bool(flags & _WRITES), os.O_RDONLY)
    accessor = getattr(pathlib, "_NormalAccessor", None)  # up to Python 3.9
    with contextlib.ExitStack() as stack:
        for place, name, guarded in (
            (builtins, "open", text_open),
            (io, "open", text_open),
            (os, "open", os_open),
            *((os, name, changing(getattr(os, name))) for name in (*_CHANGES, "remove", "link")),
        ):
            stack.enter_context(mock.patch.object(place, name, guarded))
        for name in (*_CHANGES, "open") if accessor else ():
            guarded = os_open if name == "open" else changing(getattr(accessor, name))
            stack.enter_context(mock.patch.object(accessor, name, staticmethod(guarded)))
        yield
