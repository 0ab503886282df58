"""The inputs of tests/readme.bats: a small COCO, the README's zoo models, and a .venv.

    python tests/helpers/readme_world.py draw FOLDER          COCO and the zoo, for demo.server
    python tests/helpers/readme_world.py environment FOLDER   a .venv with this Python's packages
    python tests/helpers/readme_world.py pictures FOLDER      labelled images, and some without

The classes are eighteen of COCO's with COCO's ids, each drawn as one of the shapes. The archives
are copies of the miniature of demo/zoo under other names, with these class names in their label
map. So a zoo model detects a "giraffe" as well as it detects that shape.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import List

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO))

from demo import shapes
from tests.helpers import own_images
from todus import categories

MINIATURE = "ssd_mobilenet_v1_shapes"
MODELS = (
    "ssd_mobilenet_v1_coco_2018_01_28",
    "ssd_mobilenet_v2_coco_2018_03_29",
    "ssd_inception_v2_coco_2018_01_28",
)
NAMES = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat")
NAMES += ("traffic light", "bird", "cat", "dog", "horse", "sheep", "cow", "bear", "giraffe")
TRAIN, VAL = 48, 32


def draw(folder: Path) -> None:
    shapes.write(str(folder), TRAIN, VAL)
    archive = folder / "annotations" / "annotations_trainval2017.zip"
    with zipfile.ZipFile(str(archive)) as file:
        documents = {name: json.loads(file.read(name).decode()) for name in file.namelist()}
    with zipfile.ZipFile(str(archive), "w") as file:
        for name, document in documents.items():
            file.writestr(name, json.dumps(with_coco_classes(document)))
    zoo = folder / "models" / "object_detection"
    zoo.mkdir(parents=True)
    for name in MODELS:
        pack_as(REPO / "demo" / "zoo" / (MINIATURE + ".tar.gz"), zoo, name)


def with_coco_classes(document: dict) -> dict:
    """The COCO document of the shapes, with each shape's class and id replaced by one of COCO's."""
    ids = {name: identity for identity, name in categories.bundled("coco").items()}
    new = {shape.id: ids[name] for shape, name in zip(shapes.SHAPES, NAMES)}
    for annotation in document["annotations"]:
        annotation["category_id"] = new[annotation["category_id"]]
    document["categories"] = [
        {"supercategory": "thing", "id": ids[name], "name": name} for name in NAMES
    ]
    return document


def pack_as(source: Path, folder: Path, name: str) -> None:
    """Copies a miniature archive as the zoo's archive NAME, with COCO's names in its label map."""
    item = 'item {\n  name: "%s"\n  id: %d\n}\n'
    text = "".join(item % (word, shape.id) for shape, word in zip(shapes.SHAPES, NAMES))
    target = str(folder / (name + ".tar.gz"))
    with tarfile.open(str(source)) as old, tarfile.open(target, "w:gz", compresslevel=1) as new:
        for member in old.getmembers():
            content = old.extractfile(member).read() if member.isfile() else b""
            if os.path.basename(member.name) == "label_map.pbtxt":
                content = text.encode()
            member.name, member.size = member.name.replace(MINIATURE, name, 1), len(content)
            new.addfile(member, io.BytesIO(content))


def environment(folder: Path) -> None:
    """Makes a .venv that runs this Python, with an `activate` and the mark of `make install`."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text('#!/usr/bin/env bash\nexec "%s" "$@"\n' % sys.executable)
    python.chmod(0o755)
    here = '$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)'
    (folder / "bin" / "activate").write_text(
        'VIRTUAL_ENV="%s"\nPATH="$VIRTUAL_ENV/bin:$PATH"\nexport VIRTUAL_ENV PATH\n' % here
    )
    command = "cat requirements.txt requirements-nodeps.txt lib/install.sh | cksum | tr -d ' '"
    digest = subprocess.check_output(command, shell=True, cwd=str(folder.parent))
    (folder / ".installed-runtime").write_bytes(digest)


def pictures(folder: Path) -> None:
    own_images.voc_folder(folder / "raccoon", names=["raccoon"])
    for seed in range(100, 110):
        own_images.save(folder / "alarms" / ("%d.jpg" % seed), seed)


def main(arguments: List[str]) -> None:
    functions = {"draw": draw, "environment": environment, "pictures": pictures}
    functions[arguments[0]](Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
