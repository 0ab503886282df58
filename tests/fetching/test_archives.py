"""Archives that are not trusted: unpacked inside the folder, or rejected."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.places import REPO
from todus.errors import TodusError
from todus.fetching import archives


def tar(path, *members):
    """Writes a .tar.gz; each member is (name or TarInfo, bytes)."""
    with tarfile.open(str(path), "w:gz") as archive:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, *members):
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_files_and_folders_unpack(tmp_path):
    archive = tar(tmp_path / "x.tar", ("a/b.txt", b"one"), ("./c.txt", b""))
    out = tmp_path / "out"
    assert archives.unpack_tar(archive, out) == [out / "a" / "b.txt", out / "c.txt"]
    assert (out / "a" / "b.txt").read_bytes() == b"one"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a/../b"]
)
def test_a_path_outside_the_folder_is_an_error(tmp_path, name):
    with pytest.raises(TodusError, match="outside"):
        archives.unpack_tar(tar(tmp_path / "x.tar", (name, b"x")), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_a_link_or_a_device_in_a_tar_is_an_error(tmp_path, kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(TodusError, match="link or a special file"):
        archives.unpack_tar(tar(tmp_path / "x.tar", (info, b"")), tmp_path / "out")


def test_an_archive_that_unpacks_to_too_much_is_rejected_before_it_is_unpacked(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    with pytest.raises(TodusError, match="too much for its size"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("big", bytes(30 << 20))), tmp_path / "out")
    assert not (tmp_path / "out" / "big").exists()
    with pytest.raises(TodusError, match="too much for its size"):
        archives.check_archive(zipped(tmp_path / "x.zip", ("big", bytes(30 << 20))))


def test_a_file_that_occurs_twice_is_an_error(tmp_path):
    with pytest.raises(TodusError, match="twice"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("a", b"1"), ("a", b"2")), tmp_path / "out")


def test_a_symlink_in_the_folder_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TodusError, match="is a symlink"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("a/b", b"x")), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def header(name, size, kind=tarfile.REGTYPE):
    """The header of a member in the GNU format, with any size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=True) if size < 0 else b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**values):
    """A pax header of the next member."""
    text = "".join(
        "%d %s=%s\n" % (len(key + value) + 3 + len(str(len(key + value) + 5)), key, value)
        for key, value in values.items()
    ).encode()
    return header("pax", len(text), tarfile.XHDTYPE) + text.ljust(512, b"\0")


END = bytes(1024)
FIRST = header("a", 1) + b"x".ljust(512, b"\0")
HOSTILE_SIZES = {
    "negative": FIRST + header("b", -1536),
    "negative in a pax header": FIRST + pax(size="-1536") + header("b", 0),
    "a long name of negative size": FIRST + header("b", -512, tarfile.GNUTYPE_LONGNAME) + FIRST,
    "a pax header of negative size": FIRST + header("b", -512, tarfile.XHDTYPE) + FIRST,
    "a long name of 8 GB": FIRST + header("b", 8 << 30, tarfile.GNUTYPE_LONGNAME) + FIRST,
    "an unknown kind": FIRST + header("b", -1536, b"Z"),
    "long names nested without end": header("b", 0, tarfile.GNUTYPE_LONGNAME) * 5000 + FIRST,
}


@pytest.mark.parametrize("kind", sorted(HOSTILE_SIZES))
def test_a_member_of_a_hostile_size_is_an_error_and_no_loop(tmp_path, kind):
    path = tmp_path / "x.tar"
    path.write_bytes(HOSTILE_SIZES[kind] + END)
    code = """import sys
from todus.errors import TodusError
from todus.fetching import archives
for call in (archives.check_archive, lambda path: archives.unpack_tar(path, sys.argv[2])):
    try:
        call(sys.argv[1])
        sys.exit("no error")
    except TodusError:
        pass
"""
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out")]
    subprocess.run(command, cwd=str(REPO), timeout=20, check=True)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_archive_of_each_compression_is_an_error(tmp_path, kind):
    path = tmp_path / "x.tar"
    with tarfile.open(str(path), "w:" + kind) as archive:
        info = tarfile.TarInfo("a")
        info.size = 200000
        archive.addfile(info, io.BytesIO(bytes(number * number % 251 for number in range(200000))))
    data = bytearray(path.read_bytes())
    for at in range(40, len(data), len(data) // 20 + 1):
        path.write_bytes(data[:at] + b"\xff\xff\xff" + data[at + 3 :])
        with pytest.raises(TodusError):
            archives.unpack_tar(path, tmp_path / "o")
        shutil.rmtree(str(tmp_path / "o"), ignore_errors=True)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a", "a/"), ("a/b", "a"), ("n" * 300,)])
def test_a_name_that_cannot_be_a_file_is_an_error_that_tells_it(tmp_path, names):
    members = [tarfile.TarInfo(name.rstrip("/")) for name in names]
    members[-1].type = tarfile.DIRTYPE if names[-1].endswith("/") else tarfile.REGTYPE
    archive = tar(tmp_path / "x.tar", *[(member, b"") for member in members])
    with pytest.raises(TodusError, match="(twice|beside the others).*; do not trust this archive"):
        archives.unpack_tar(archive, tmp_path / "out")


def test_an_archive_that_asks_for_gigabytes_is_an_error(tmp_path, monkeypatch):
    archive = tar(tmp_path / "x.tar", ("a", b"one"))

    def ask(*_, **__):
        raise MemoryError

    monkeypatch.setattr(archives.tarfile, "open", ask)
    for work in (archives.check_archive, lambda path: archives.unpack_tar(path, tmp_path / "o")):
        with pytest.raises(TodusError, match="x.tar"):
            work(archive)


def test_a_tar_of_very_many_members_is_an_error(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(b"".join(header("m/%d" % number, 0) for number in range(10001)) + END)
    for call in (archives.check_archive, lambda path: archives.unpack_tar(path, tmp_path / "out")):
        with pytest.raises(TodusError, match="more than 10000 members"):
            call(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_an_error(tmp_path, share):
    archive = tar(tmp_path / "x.tar", ("a", bytes(range(256)) * 100), ("b", b"2" * 3000))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TodusError, match="damaged"):
        archives.unpack_tar(archive, tmp_path / "out")


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_an_archive_with_a_damaged_byte_is_an_error_or_unpacks_into_the_folder(tmp_path, at, value):
    out = tmp_path / "deep" / "out"
    shutil.rmtree(str(out), ignore_errors=True)
    data = bytearray(tar(tmp_path / "x.tar", ("a/b", b"one" * 50), ("c", b"two")).read_bytes())
    data[at % len(data)] = value
    (tmp_path / "damaged").write_bytes(bytes(data))
    try:
        written = archives.unpack_tar(tmp_path / "damaged", out)
    except TodusError:
        return
    assert all(out in path.parents for path in written)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tgz", "x.tar"])
def test_a_truncated_archive_fails_the_check_under_its_temporary_name(tmp_path, name):
    part = tmp_path / ("." + name + ".part")
    make = zipped if name == "x.zip" else tar
    complete = make(part, ("a", bytes(range(256)) * 50)).read_bytes()
    archives.check_archive(part)
    part.write_bytes(complete[: len(complete) // 2])
    with pytest.raises(TodusError, match="%s is not a complete" % name):
        archives.check_archive(part)
