"""Damages the files of a source, texts and archives."""

import io
import json
import os
import random
import re
import tarfile
from pathlib import Path

from tests.helpers import own_images as own
from todus.dataset.records import example, tfrecord
from todus.dataset.sources import (
    cloud,
    coco_labels,
    csv,
    cvat,
    labelme,
    openimages,
    records,
    voc,
    yolo,
)

HOSTILE = [
    "nan",
    "-inf",
    "1e999",
    "9" * 400,
    "-1",
    "0",
    "",
    "1,5",
    "0x10",
    "\u0661",
    "null",
    "true",
]
HOSTILE += ["[[[[", "{}", "..", "../../../../../tmp/escaped", "/etc/passwd", "C:\\x\\y.jpg", "CON"]
HOSTILE += ["label_map.pbtxt", "'; drop", "$(reboot)", "%s%n", "\x1b[31m", "\u202e", "\U0001f600"]
HOSTILE += ["a" * 5000, "\n\n", "\r", "\t", "<b>", "&amp;", "]]>", '"']

# XML whose entities expand to gigabytes.
BOMB = '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">%s]>' % "".join(
    '<!ENTITY %s "%s">' % (chr(98 + n), "&%s;" % chr(97 + n) * 10) for n in range(8)
)
SNIPPETS = [BOMB, "&h;", "\0", "<object>" * 500, "[" * 3000, "\ufeff", "<!--", '"']
WHOLES = [b"", b"\0", b"\xff\xd8\xff\xd9", b"<html></html>"]
WHOLES += [BOMB.encode() + b"<annotation>&i;</annotation>"]
ENCODINGS = ("utf-16", "utf-16-be", "utf-8-sig", "cp1252", "utf-32")


def damaged(data: bytes, changes) -> bytes:
    """The bytes after a list of changes: (kind, where, what), see bad_input.edits."""
    for kind, where, what in changes:
        at = where % (len(data) + 1) if isinstance(where, int) else 0
        if kind == "token":
            words = re.split(rb"(?<=[>,:])|(?=[<,])", data)
            words[where % len(words)] = what.encode("utf-8")
            data = b"".join(words)
        elif kind == "cut":
            data = data[:at]
        elif kind == "byte":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what.encode("utf-8") + data[at:]
        elif kind == "repeat":
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


def draw_csv(root: Path) -> Path:
    for index in range(5):
        own.save(root / ("i%d.jpg" % index), index)
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    rows = ["i%d.jpg,40,30,cat,5,6,25,26" % (n % 5) for n in range(8)]
    return own.write(root / "boxes.csv", "\n".join([header] + rows))


def draw_cloud(root: Path) -> Path:
    box = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.75, "label": "cat"}
    boxes = {own.save(root / ("i%d.jpg" % n), n).name: [box] for n in range(5)}
    content = {"type": "localization", "labels": ["cat"], "annotations": boxes}
    return own.write(root / "_annotations.json", json.dumps(content))


def draw_coco_json(root: Path) -> Path:
    images = [{"id": n, "file_name": "i%d.jpg" % n, "width": 40, "height": 30} for n in range(5)]
    for each in images:
        own.save(root / each["file_name"], each["id"])
    return own.coco_json(root / "instances.json", images, {0: "cat"}, [(n, 0) for n in range(5)])


def draw_yolo(damaged_file: str):
    def draw(root: Path) -> Path:
        for index in range(5):
            own.save(root / "images" / ("i%d.jpg" % index), index)
            own.write(root / "labels" / ("i%d.txt" % index), "0 0.5 0.5 0.25 0.5\n" * 2)
        own.write(root / "data.yaml", "path: .\ntrain: images\nnc: 1\nnames: {0: cat, 1: dog}\n")
        return root / damaged_file

    return draw


def draw_records(root: Path) -> Path:
    corners = {"xmin": 0.125, "ymin": 0.2, "xmax": 0.625, "ymax": 0.8}
    root.mkdir(parents=True)
    own.write(root / "map.pbtxt", 'item { id: 1 name: "cat" }')
    with (root / "all.record").open("wb") as file:
        for index in range(5):
            features = {"image/object/bbox/" + side: [corner] for side, corner in corners.items()}
            features["image/object/class/text"] = [b"cat"]
            encoded = own.save(root / "i.jpg", index).read_bytes()
            record = example.encode(encoded, features, example.KINDS)
            tfrecord.Writer(file).write(*record)
    return root / "all.record"


def draw_cvat(root: Path) -> Path:
    names = [own.save(root / ("i%d.jpg" % index), index).name for index in range(5)]
    shapes = '<box label="cat" xtl="5" ytl="6" xbr="25" ybr="26"/>'
    shapes += '<polygon label="cat" points="1.5,2;9,2;9,12.5"/>'
    return own.write(root / "annotations.xml", own.cvat(dict.fromkeys(names, shapes)))


def draw_labelme(root: Path) -> Path:
    for index in range(5):
        own.labelme(own.save(root / ("i%d.jpg" % index), index), [("cat", [[5, 6], [25, 26]])])
    return root / "i3.json"


def draw_openimages(root: Path) -> Path:
    for index in range(5):
        own.save(root / "validation" / ("%016x.jpg" % index), index)
    rows = ["%016x,xclick,/m/0k4j,1,0.25,0.75,0.2,0.8,0,0,0,0,0" % (n % 5) for n in range(8)]
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    header += "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    return own.write(root / "validation-annotations-bbox.csv", "\n".join([header] + rows))


# kind -> a function that draws a source and returns the file to damage, its group, the command's
# main and its arguments
SOURCES = {
    "xml": (draw_voc, "voc", voc.main, lambda root: [str(root)]),
    "jpeg": (draw_image("JPEG"), "voc", voc.main, lambda root: [str(root)]),
    "png": (draw_image("PNG"), "voc", voc.main, lambda root: [str(root)]),
    "gif": (draw_image("GIF"), "voc", voc.main, lambda root: [str(root)]),
    "json": (draw_cloud, "cloud", cloud.main, lambda root: [str(root)]),
    "csv": (draw_csv, "csv", csv.main, lambda root: [str(root / "boxes.csv"), str(root)]),
    "coco-json": (
        draw_coco_json,
        "coco-json",
        coco_labels.main,
        lambda root: [str(root / "instances.json"), str(root)],
    ),
    "yolo": (draw_yolo("labels/i3.txt"), "yolo", yolo.main, lambda root: [str(root)]),
    "yaml": (draw_yolo("data.yaml"), "yolo", yolo.main, lambda root: [str(root)]),
    "cvat": (draw_cvat, "cvat", cvat.main, lambda root: [str(root)]),
    "labelme": (draw_labelme, "labelme", labelme.main, lambda root: [str(root)]),
    "records": (
        draw_records,
        "records",
        records.main,
        lambda root: [str(root / "all.record"), str(root / "map.pbtxt")],
    ),
    "openimages": (draw_openimages, "openimages", openimages.main, lambda root: []),
}


def damaged_text(text: str, seed: int) -> str:
    """The text with one damage: cut, or a line, brace, quote or character changed."""
    chance = random.Random(seed)
    lines = text.split("\n")
    place = chance.randrange(len(lines))
    kind = seed % 8
    if kind == 0:
        return text[: chance.randrange(len(text))]
    if kind == 1:
        del lines[place]
    elif kind == 2:
        lines.insert(place, lines[chance.randrange(len(lines))])
    elif kind == 3:
        lines[place] = lines[place].replace("{", "", 1).replace('"', "", 1)
    elif kind == 4:
        lines.insert(place, "https://example.org/raw?x={};")
    elif kind == 5:
        lines[place] = lines[place].replace("_", "-", 1).replace(": ", ": -", 1)
    elif kind == 6:
        lines[place] += "\x00\u202e\x1b[2J}"
    else:
        at = chance.randrange(len(text))
        return text[:at] + chance.choice("{}<>\"':#\\\n0") * chance.randrange(1, 4) + text[at + 1 :]
    return "\n".join(lines)


def hostile(seed: int, data: bytes, path) -> None:
    """Writes an archive that is cut, scrambled or not gzip, or has a member outside its folder."""
    chance = random.Random(seed)
    kind = seed % 6
    if kind == 0:
        path.write_bytes(data[: chance.randrange(len(data))])
    elif kind == 1:
        scrambled = bytearray(data)
        for _ in range(20):
            scrambled[chance.randrange(len(scrambled))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(scrambled))
    elif kind == 2:
        others = [
            b"",
            b"<html><body>404</body></html>",
            b"PK\x03\x04" + bytes(100),
            os.urandom(4096),
        ]
        path.write_bytes(chance.choice(others))
    else:
        with tarfile.open(str(path), "w:gz") as tar:
            member = tarfile.TarInfo(chance.choice(["../evil", "/evil", "m/../../evil", "m/evil"]))
            member.size = 4
            if kind == 4:
                member = tarfile.TarInfo("m/link")
                member.type = chance.choice([tarfile.SYMTYPE, tarfile.LNKTYPE])
                member.linkname = "../../../evil"
            tar.addfile(member, io.BytesIO(b"evil"))
