"""An archive from the network unpacks inside its folder or not at all."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todus.errors import TodusError
from todus.fetching import archives


def tar(path, *members):
    """Members are TarInfo, or (name, bytes)."""
    with tarfile.open(str(path), "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path, *members):
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_files_and_folders_unpack(tmp_path):
    archive = tar(tmp_path / "x.tar", ("a/b.txt", b"one"), ("./c.txt", b""))
    written = archives.unpack_tar(archive, tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in written) == [
        "a/b.txt",
        "c.txt",
    ]
    assert (tmp_path / "out/a/b.txt").read_bytes() == b"one"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a/../b"]
)
def test_a_path_outside_is_refused(tmp_path, name):
    with pytest.raises(TodusError, match="outside"):
        archives.unpack_tar(tar(tmp_path / "x.tar", (name, b"x")), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_a_link_or_device_in_a_tar_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(TodusError, match="link or a special file"):
        archives.unpack_tar(tar(tmp_path / "x.tar", info), tmp_path / "out")


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    with pytest.raises(TodusError, match="far more"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("big", bytes(30 << 20))), tmp_path / "out")
    assert not (tmp_path / "out" / "big").exists()
    with pytest.raises(TodusError, match="far more"):
        archives.check_archive(zipped(tmp_path / "x.zip", ("big", bytes(30 << 20))))


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(TodusError, match="twice"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("a", b"1"), ("a", b"2")), tmp_path / "out")


def test_a_link_in_the_folder_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TodusError, match="link"):
        archives.unpack_tar(tar(tmp_path / "x.tar", ("a/b", b"x")), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_cut_short_is_one_line(tmp_path, share):
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
def test_a_damaged_byte_never_ends_in_a_traceback_or_outside(tmp_path, at, value):
    import shutil

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
def test_a_cut_archive_is_not_whole_under_its_unfinished_name_either(tmp_path, name):
    made = (zipped if name == "x.zip" else tar)(tmp_path / "archive", ("a", bytes(range(256)) * 50))
    whole = made.read_bytes()
    part = tmp_path / ("." + name + ".part")
    part.write_bytes(whole)
    archives.check_archive(part)
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TodusError, match="not a whole"):
        archives.check_archive(part)
