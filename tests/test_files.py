import os

import pytest

from todus import command, files
from todus.errors import TodusError
from todus.text import one_line


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ValueError), files.replacing(path) as part:
        part.write_text("new")
        raise ValueError
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["a.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "data"
    for content in ("old", "new"):
        with files.replacing_folder(path) as new:
            (new / "f").write_text(content)
    assert (path / "f").read_text() == "new"
    with pytest.raises(ValueError), files.replacing_folder(path) as new:
        (new / "f").write_text("bad")
        raise ValueError
    assert (path / "f").read_text() == "new" and os.listdir(str(tmp_path)) == ["data"]


def test_a_folder_moved_aside_by_a_killed_run_comes_back(tmp_path):
    path = tmp_path / "data"
    files.beside(path, "old").mkdir()
    files.beside(path, "new").mkdir()
    files.recover_folder(path)
    assert os.listdir(str(tmp_path)) == ["data"]


def test_unreadable_json_is_one_clear_error(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(TodusError, match=name):
            files.read_json(tmp_path / name)


def test_what_strangers_named_cannot_steer_the_terminal():
    assert one_line("a\x1b[31m\nb\tc\x9b") == "a [31m b c"


def test_errors_become_one_line_and_an_exit_code(capsys):
    def fails(error):
        def main(_argv):
            raise error

        return main

    assert command.run("tool", fails(TodusError("bad\nthing"))) == 1
    assert command.run("tool", fails(KeyboardInterrupt())) == 130
    assert command.run("tool", fails(OSError(28, "No space left on device", "/x"))) == 1
    said = capsys.readouterr().err.splitlines()
    assert (
        said[0] == "tool: bad thing"
        and said[2].startswith("tool: No space left on device: /x; free some disk")
        and len(said) == 3
    )
