"""The world of tests/readme.bats: a small COCO and the README's zoo models, drawn, and commands read out of Markdown.

    python tests/helpers/readme_world.py draw FOLDER          FOLDER/annotations, train2017 ..., and models/object_detection/NAME.tar.gz
    python tests/helpers/readme_world.py environment FOLDER   FOLDER becomes a .venv that runs this Python's packages

The classes are eighteen of COCO's under COCO's ids, each drawn as one of the shapes, and the archives are the miniature of demo/zoo under
other names, with a label map that says so. So the zoo's models detect a "giraffe" as well as they detect that shape.
"""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import List

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO))

from demo import shapes
from todus import categories

MINIATURE = "ssd_mobilenet_v1_shapes"
MODELS = (
    "ssd_mobilenet_v1_coco_2018_01_28",
    "ssd_mobilenet_v2_coco_2018_03_29",
    "ssd_inception_v2_coco_2018_01_28",
)
NAMES = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
)
NAMES += ("bird", "cat", "dog", "horse", "sheep", "cow", "bear", "giraffe")
TRAIN, VAL = 48, 32


def draw(folder: Path) -> None:
    shapes.write(str(folder), TRAIN, VAL)
    archive = folder / "annotations" / "annotations_trainval2017.zip"
    with zipfile.ZipFile(str(archive)) as file:
        documents = {name: json.loads(file.read(name).decode()) for name in file.namelist()}
    with zipfile.ZipFile(str(archive), "w") as file:
        for name, document in documents.items():
            file.writestr(name, json.dumps(in_coco_words(document)))
    zoo = folder / "models" / "object_detection"
    zoo.mkdir(parents=True)
    for name in MODELS:
        relabelled(REPO / "demo" / "zoo" / (MINIATURE + ".tar.gz"), zoo, name)


def in_coco_words(document: dict) -> dict:
    """COCO's document of the shapes with each shape's class and id replaced by one of COCO's."""
    ids = {name: identity for identity, name in categories.bundled("coco").items()}
    new = {shape.id: ids[name] for shape, name in zip(shapes.SHAPES, NAMES)}
    for annotation in document["annotations"]:
        annotation["category_id"] = new[annotation["category_id"]]
    document["categories"] = [
        {"supercategory": "thing", "id": ids[name], "name": name} for name in NAMES
    ]
    return document


def relabelled(source: Path, folder: Path, name: str) -> None:
    """Packs a miniature archive as the zoo packs its own, NAME/..., with a label map in COCO's words."""
    text = "".join(
        'item {\n  name: "%s"\n  id: %d\n}\n' % (word, shape.id)
        for shape, word in zip(shapes.SHAPES, NAMES)
    )
    with tarfile.open(str(source)) as old, tarfile.open(
        str(folder / (name + ".tar.gz")), "w:gz", compresslevel=1
    ) as new:
        for member in old.getmembers():
            content = old.extractfile(member).read() if member.isfile() else b""
            if os.path.basename(member.name) == "label_map.pbtxt":
                content = text.encode()
            member.name, member.size = member.name.replace(MINIATURE, name, 1), len(content)
            new.addfile(member, io.BytesIO(content))


def environment(folder: Path) -> None:
    """A .venv whose python is this one, as `make install` leaves it: marked as installed, with an activate to source."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text('#!/usr/bin/env bash\nexec "%s" "$@"\n' % sys.executable)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    here = '$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)'
    (folder / "bin" / "activate").write_text(
        'VIRTUAL_ENV="%s"\nPATH="$VIRTUAL_ENV/bin:$PATH"\nexport VIRTUAL_ENV PATH\n' % here
    )
    files = ["requirements.txt", "requirements-nodeps.txt", "lib/install.sh"]
    digest = subprocess.run(
        "cat %s | cksum | tr -d ' '" % " ".join(files),
        shell=True,
        check=True,
        cwd=str(folder.parent),
        stdout=subprocess.PIPE,
    )
    (folder / ".installed-runtime").write_bytes(digest.stdout)


def main(arguments: List[str]) -> None:
    {"draw": draw, "environment": environment}[arguments[0]](Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
