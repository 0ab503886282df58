import errno
import os

import pytest

from todus import command, files
from todus.errors import TodusError, UsageError
from todus.text import one_line


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ValueError), files.replacing(path) as part:
        part.write_text("new")
        raise ValueError
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["a.txt"]


def test_the_bytes_of_a_file_are_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.fstat(fd).st_ino), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append(new), replace(old, new)))
    path = tmp_path / "a.txt"
    files.write_text(path, "new")
    assert calls == [path.stat().st_ino, str(path)]


def test_a_failed_write_keeps_the_old_folder(tmp_path):
    path = tmp_path / "data"
    for content in ("old", "new"):
        with files.replacing_folder(path) as new:
            (new / "f").write_text(content)
        assert (path / "f").read_text() == content
    with pytest.raises(ValueError), files.replacing_folder(path) as new:
        (new / "f").write_text("bad")
        raise ValueError
    assert (path / "f").read_text() == "new" and os.listdir(str(tmp_path)) == ["data"]


def test_a_folder_that_a_killed_process_had_renamed_is_restored(tmp_path):
    path = tmp_path / "data"
    files.beside(path, "old").mkdir()
    files.beside(path, "new").mkdir()
    files.recover_folder(path)
    assert os.listdir(str(tmp_path)) == ["data"]


@pytest.mark.parametrize("name", ["a.json", "none.json"])
def test_the_message_for_unreadable_json_names_the_file(tmp_path, name):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(TodusError, match=name):
        files.read_json(tmp_path / name)


def test_one_line_removes_terminal_escapes_and_newlines():
    assert one_line("a\x1b[31m\nb\tc\x9b") == "a [31m b c"


@pytest.mark.parametrize(
    "error, code, message",
    [
        (TodusError("bad\nthing"), 1, "bad thing"),
        (UsageError("bad option"), 2, "bad option"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            1,
            "No space left on device: /x; free some disk space and run this again",
        ),
        (OSError(errno.EIO, "Input/output error"), 1, "fix this and run the command again"),
        (MemoryError(), 1, "out of memory; close other programs"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_printed_as_one_line_with_its_exit_code(error, code, message, capsys):
    def main(_):
        raise error

    assert command.run("tool", main) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tool: ") and message in line
