"""What came from the network unpacks inside its folder or not at all."""

import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todus.errors import TodusError
from todus.fetching import archives

UNPACK = {"tar": archives.unpack_tar, "zip": archives.unpack_zip}


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


def make(kind, tmp_path, *members):
    return (tar if kind == "tar" else zipped)(tmp_path / ("archive." + kind), *members)


@pytest.mark.parametrize("kind", UNPACK)
def test_files_and_folders_unpack(tmp_path, kind):
    archive = make(kind, tmp_path, ("a/b.txt", b"one"), ("./c.txt", b""))
    written = UNPACK[kind](archive, tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in written) == ["a/b.txt", "c.txt"]
    assert (tmp_path / "out/a/b.txt").read_bytes() == b"one"


def test_only_the_named_members_of_a_zip_unpack(tmp_path):
    archive = zipped(tmp_path / "x.zip", ("a", b"1"), ("b", b"2"))
    assert [path.name for path in archives.unpack_zip(archive, tmp_path / "out", ["b"])] == ["b"]


@pytest.mark.parametrize("kind", UNPACK)
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a/../b"])
def test_a_path_outside_is_refused(tmp_path, kind, name):
    with pytest.raises(TodusError, match="outside"):
        UNPACK[kind](make(kind, tmp_path, (name, b"x")), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(TodusError, match="link or a special file"):
        archives.unpack_tar(tar(tmp_path / "x.tar", info), tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(TodusError, match="link or a special file"):
        archives.unpack_zip(zipped(tmp_path / "x.zip", (info, b"/etc/passwd")), tmp_path / "out")


@pytest.mark.parametrize("kind", UNPACK)
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    archive = make(kind, tmp_path, ("big", bytes(30 << 20)))
    with pytest.raises(TodusError, match="far more"):
        UNPACK[kind](archive, tmp_path / "out")
    assert not (tmp_path / "out" / "big").exists()


@pytest.mark.parametrize("kind", UNPACK)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(tmp_path, kind):
    with pytest.raises(TodusError, match="twice"):
        UNPACK[kind](make(kind, tmp_path, ("a", b"1"), ("a", b"2")), tmp_path / "out")


@pytest.mark.parametrize("kind", UNPACK)
def test_a_link_in_the_folder_is_not_followed(tmp_path, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TodusError, match="link"):
        UNPACK[kind](make(kind, tmp_path, ("a/b", b"x")), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("kind", UNPACK)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_cut_short_is_one_line(tmp_path, kind, share):
    archive = make(kind, tmp_path, ("a", bytes(range(256)) * 100), ("b", b"2" * 3000))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TodusError, match="damaged"):
        UNPACK[kind](archive, tmp_path / "out")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), value=st.integers(0, 255), kind=st.sampled_from(sorted(UNPACK)))
def test_a_damaged_byte_never_ends_in_a_traceback_or_outside(tmp_path, at, value, kind):
    import shutil

    out = tmp_path / "deep" / "out"
    shutil.rmtree(str(out), ignore_errors=True)
    data = bytearray(make(kind, tmp_path, ("a/b", b"one" * 50), ("c", b"two")).read_bytes())
    data[at % len(data)] = value
    (tmp_path / "damaged").write_bytes(bytes(data))
    try:
        written = UNPACK[kind](tmp_path / "damaged", out)
    except TodusError:
        return
    assert all(out in path.parents for path in written)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tgz", "x.tar"])
def test_a_cut_archive_is_not_whole_under_its_unfinished_name_either(tmp_path, name):
    made = make("zip" if name == "x.zip" else "tar", tmp_path, ("a", bytes(range(256)) * 50))
    whole = made.read_bytes()
    part = tmp_path / ("." + name + ".part")
    part.write_bytes(whole)
    archives.check_archive(part)
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TodusError, match="not a whole"):
        archives.check_archive(part)
