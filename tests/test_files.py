import contextlib
import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading

import pytest

from tests.helpers.places import REPO
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


def test_temporary_files_of_another_container_stay_until_its_process_ends(tmp_path, monkeypatch):
    """There, another process can have this one's PID, or one that no process has here."""
    for pid in (os.getpid(), 99999999):
        with monkeypatch.context() as elsewhere, contextlib.ExitStack() as stack:
            elsewhere.setattr(os, "getpid", lambda pid=pid: pid)
            first = stack.enter_context(files.replacing(tmp_path / "a"))
            folder = stack.enter_context(files.scratch(tmp_path / "a"))
            elsewhere.undo()
            first.write_text("first")
            with files.replacing(tmp_path / "a") as second, files.scratch(tmp_path / "a") as other:
                second.write_text("second")
                assert first.read_text() == "first" and folder.is_dir() and other != folder
            assert (tmp_path / "a").read_text() == "second"
        assert (tmp_path / "a").read_text() == "first"
        assert os.listdir(str(tmp_path)) == ["a"]


def test_temporary_files_of_a_killed_process_are_removed_whoever_has_its_pid_now(tmp_path):
    code = "import os, sys; from todus import files\n"
    code += "os.getpid = lambda: 1\n"
    code += "with files.replacing(sys.argv[1]) as part, files.scratch(sys.argv[1]):\n"
    code += "    part.write_text('old'); os._exit(9)"
    path = str(tmp_path / "a")
    assert subprocess.call([sys.executable, "-c", code, path], cwd=str(REPO)) == 9
    assert len(os.listdir(str(tmp_path))) == 2
    files.write_text(path, "new")
    assert os.listdir(str(tmp_path)) == ["a"]


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


def test_messages_have_no_credentials(capsys):
    def main(_):
        command.say("from http://me:se/cret@x http://me:secret@host/x?a@b")
        raise TodusError("https://me:secret@host:8/x does not answer")

    assert command.run("tool", main) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "from http://me:se/cret@x http://host/x?a@b"
    assert lines[1] == "tool: https://host:8/x does not answer"


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


def test_an_unexpected_error_is_one_line_with_a_file_that_has_the_traceback(
    tmp_path, monkeypatch, capsys
):
    def main(_):
        raise ValueError("first\nsecond \udcff")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert command.run("tool", main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (report,) = tmp_path.iterdir()
    assert line.startswith("tool: unexpected ValueError (first") and line.endswith(str(report))
    assert "Traceback" in report.read_text() and 'raise ValueError("first' in report.read_text()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_an_output_to_a_symlink_goes_to_the_file_that_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    for name, target in (("link", "real/a.txt"), ("second", "link"), ("dangling", "real/new.txt")):
        (tmp_path / name).symlink_to(target)
    files.write_text(tmp_path / "real" / "a.txt", "old")
    files.write_text(tmp_path / "second", "new")
    files.write_text(tmp_path / "dangling", "new too")
    assert (tmp_path / "second").is_symlink() and (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"
    assert (tmp_path / "real" / "new.txt").read_text() == "new too"
    assert sorted(os.listdir(str(tmp_path / "real"))) == ["a.txt", "new.txt"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        files.write_text(tmp_path / "loop", "x")


def test_an_output_to_a_fifo_is_written_to_it(tmp_path):
    fifo, received = tmp_path / "fifo", []
    os.mkfifo(str(fifo))
    (tmp_path / "link").symlink_to(fifo)
    reader = threading.Thread(target=lambda: received.append(fifo.read_text()))
    reader.start()
    files.write_text(tmp_path / "link", "x" * 200000)
    reader.join(10)
    assert received == ["x" * 200000] and stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(os.listdir(str(tmp_path))) == ["fifo", "link"]


def test_a_reader_that_ends_early_is_an_error_of_one_line(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(str(fifo))
    reader = threading.Thread(target=lambda: fifo.open("rb").close())
    reader.start()
    with pytest.raises(TodusError, match="fifo was closed by its reader"):
        files.write_text(fifo, "x" * 500000)
    reader.join(10)


def device(folder, name):
    """A device in a folder of the test: never the machine's own, which an error would replace."""
    path = folder / name
    try:
        os.mknod(str(path), stat.S_IFCHR | 0o666, os.makedev(1, {"null": 3, "full": 7}[name]))
        path.open("wb").close()
    except OSError:
        pytest.skip("needs the right to make devices")
    return path


def test_an_output_to_a_device_is_written_to_it(tmp_path):
    null, full = device(tmp_path, "null"), device(tmp_path, "full")
    files.write_text(null, "words")
    with pytest.raises(OSError, match="No space left on device.*full"):
        files.write_text(full, "words")
    assert all(stat.S_ISCHR(path.stat().st_mode) for path in (null, full))
    assert sorted(os.listdir(str(tmp_path))) == ["full", "null"]


def test_an_output_to_a_descriptor_goes_where_the_descriptor_goes(tmp_path):
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    code = "import sys; from todus import files; print('before', flush=True); "
    code += "files.write_text(sys.argv[1], 'json\\n'); print('after')"
    command = [sys.executable, "-c", code, str(tmp_path / "stdout")]
    for stdout in (subprocess.PIPE, (tmp_path / "out.txt").open("w+b")):
        done = subprocess.run(command, cwd=str(REPO), stdout=stdout, check=True)
        text = done.stdout or (tmp_path / "out.txt").read_bytes()
        assert text == b"before\njson\nafter\n"
    assert (tmp_path / "stdout").is_symlink()


WORK = """import sys
from todus import command
def main(argv):
    for number in range(3000):
        command.say("step %d" % number)
    with open(sys.argv[1], "w") as file:
        command.say("talk")
        print("talk too", file=sys.stderr)
        file.write("done")
    print("next: ...")
sys.exit(command.run("work", main))
"""
# What a shell does with the talk of a command that takes long.
SINKS = {
    "a pipe whose reader ends": "2>&1 | head -n 1",
    "stderr in a pipe whose reader ends": "3>&1 1>/dev/null 2>&3 | true",
    "no stderr": "2>&-",
    "no descriptors": "<&- >&- 2>&-",
    "a full disk": '2>"$3"',
}


@pytest.mark.parametrize("sink", sorted(SINKS))
def test_work_survives_where_its_messages_cannot_be_written(sink, tmp_path):
    script = '"%s" -c "$1" "$2" %s; exit ${PIPESTATUS[0]}' % (sys.executable, SINKS[sink])
    full = str(device(tmp_path, "full")) if "$3" in script else ""
    command = ["bash", "-c", script, "bash", WORK, str(tmp_path / "out"), full]
    done = subprocess.run(command, cwd=str(REPO), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (tmp_path / "out").read_text() == "done"
    assert done.returncode == 0 and b"Exception" not in done.stdout
    assert b"step" not in done.stdout or sink == "a pipe whose reader ends"


def test_results_that_cannot_be_written_are_an_error_of_one_line(tmp_path):
    script = '"%s" -c "$1" "$2" >"$3"' % sys.executable
    full = str(device(tmp_path, "full"))
    command = ["bash", "-c", script, "bash", WORK, str(tmp_path / "out"), full]
    done = subprocess.run(command, cwd=str(REPO), stderr=subprocess.PIPE)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and lines[-1].startswith("work: No space left on device")
    assert "Exception" not in done.stderr.decode()
