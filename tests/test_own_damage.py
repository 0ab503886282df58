"""Damaged and hostile input to the sources of a person's own images: each is counted or answered with one clear line."""

import json
import shutil
import tempfile
from pathlib import Path

import own_images as own
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todus import paths
from todus.command import run
from todus.dataset import cloud, csv, openimages, verify, voc

HOSTILE = ["nan", "-inf", "1e999", "9" * 400, "-1", "0", "", "1,5", "0x10", "\u0661", "null", "true", "[[[[", "{}"]
HOSTILE += ["..", "../../../../../tmp/escaped", "/etc/passwd", "C:\\x\\y.jpg", "CON", "label_map.pbtxt", "'; drop", "$(reboot)", "%s%n"]
HOSTILE += ["\x1b[31m", "\u202e", "\U0001f600", "a" * 5000, "\n\n", "\r", "\t", "<b>", "&amp;", "]]>", '"']
BOMB = '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">%s]>' % "".join(
    '<!ENTITY %s "%s">' % (chr(98 + n), "&%s;" % chr(97 + n) * 10) for n in range(8)
)
SNIPPETS = [BOMB, "&h;", "\0", "<object>" * 500, "[" * 3000, "\ufeff", "<!--", '"']
WHOLES = [b"", b"\0", b"\xff\xd8\xff\xd9", b"<html></html>", BOMB.encode() + b"<annotation>&i;</annotation>"]
ENCODINGS = ("utf-16", "utf-16-be", "utf-8-sig", "cp1252", "utf-32")

edits = st.lists(
    st.one_of(
        st.tuples(st.just("token"), st.integers(0, 400), st.sampled_from(HOSTILE)),
        st.tuples(st.just("cut"), st.integers(0, 4000), st.just("")),
        st.tuples(st.just("byte"), st.integers(0, 4000), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("insert"), st.integers(0, 4000), st.sampled_from(SNIPPETS)),
        st.tuples(st.just("repeat"), st.integers(0, 4000), st.integers(1, 300)),
        st.tuples(st.just("encode"), st.sampled_from(ENCODINGS), st.just("")),
        st.tuples(st.just("whole"), st.sampled_from(WHOLES), st.just("")),
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, changes) -> bytes:
    """The bytes after a list of changes."""
    for kind, where, what in changes:
        if kind == "token":
            words = data.replace(b">", b">\x01").replace(b"<", b"\x01<").replace(b",", b"\x01,\x01").replace(b":", b":\x01").split(b"\x01")
            words[where % len(words)] = what.encode("utf-8")
            data = b"".join(words)
        elif kind == "cut":
            data = data[: where % (len(data) + 1)]
        elif kind == "byte":
            at = where % (len(data) + 1)
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            at = where % (len(data) + 1)
            data = data[:at] + what.encode("utf-8") + data[at:]
        elif kind == "repeat":
            at = where % (len(data) + 1)
            data = data[:at] + data[at : at + 40] * what + data[at:]
        elif kind == "encode":
            data = data.decode("utf-8", "replace").encode(where, "replace")
        else:
            data = where
    return data


def draw_voc(root: Path) -> Path:
    own.voc_folder(root, 5)
    return root / "i03.xml"


def draw_image(kind: str):
    def draw(root: Path) -> Path:
        own.voc_folder(root, 5)
        return own.save(root / "i03.jpg", 3, format=kind)

    return draw


def draw_cloud(root: Path) -> Path:
    boxes = {"i%d.jpg" % n: [{"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.75, "label": "cat"}] for n in range(5)}
    for index, name in enumerate(boxes):
        own.save(root / name, index)
    return own.write(root / "_annotations.json", json.dumps({"type": "localization", "labels": ["cat"], "annotations": boxes}))


def draw_csv(root: Path) -> Path:
    for index in range(5):
        own.save(root / ("i%d.jpg" % index), index)
    rows = ["i%d.jpg,40,30,cat,5,6,25,26" % (n % 5) for n in range(8)]
    return own.write(root / "boxes.csv", "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax"] + rows))


def draw_openimages(root: Path) -> Path:
    for index in range(5):
        own.save(root / "validation" / ("%016x.jpg" % index), index)
    rows = ["%016x,xclick,/m/0k4j,1,0.25,0.75,0.2,0.8,0,0,0,0,0" % (n % 5) for n in range(8)]
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    return own.write(root / "validation-annotations-bbox.csv", "\n".join([header] + rows))


SOURCES = {
    "xml": (draw_voc, "voc", voc.main, lambda root: [str(root)]),
    "jpeg": (draw_image("JPEG"), "voc", voc.main, lambda root: [str(root)]),
    "png": (draw_image("PNG"), "voc", voc.main, lambda root: [str(root)]),
    "gif": (draw_image("GIF"), "voc", voc.main, lambda root: [str(root)]),
    "json": (draw_cloud, "cloud", cloud.main, lambda root: [str(root)]),
    "csv": (draw_csv, "csv", csv.main, lambda root: [str(root / "boxes.csv"), str(root)]),
    "openimages": (draw_openimages, "openimages", openimages.main, lambda root: []),
}


@pytest.mark.parametrize("source", sorted(SOURCES))
@given(changes=edits)
@settings(max_examples=45, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_damage_is_counted_or_one_clear_line(source, changes, monkeypatch, capsys):
    draw, kind, main, arguments = SOURCES[source]
    top = Path(tempfile.mkdtemp(prefix="todus-test-"))
    try:
        victim = draw(top / "in")
        victim.write_bytes(damaged(victim.read_bytes(), changes))
        own.clean_environment(monkeypatch, top / "home", NAME="d", MAX_DROPPED="100", OPENIMAGES_URL=str(top / "in"))
        monkeypatch.setenv("CATEGORIES", "Car" if kind == "openimages" else "")
        monkeypatch.setenv("SPLITS", "validation")
        before = own.tree(top / "in")
        capsys.readouterr()
        code = run("dataset", main, arguments(top / "in"))
        captured = capsys.readouterr()
        assert own.tree(top / "in") == before
        assert "\x1b" not in captured.out + captured.err and "\x9b" not in captured.out + captured.err
        written = {path.relative_to(top).parts[:4] for path in top.rglob("*") if path.is_file() and path.relative_to(top).parts[0] != "in"}
        if code == 0:
            assert written and all(parts[:4] == ("home", "dataset", kind, "d") for parts in written)
            counts, problems = verify.dataset(paths.dataset("%s/d" % kind))
            assert not problems and sum(found.boxes for found in counts.values()) >= 1
        else:
            assert code in (1, 2) and captured.err.splitlines()[-1].startswith("dataset: ") and not written
    finally:
        shutil.rmtree(str(top))
