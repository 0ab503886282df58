"""Kinds of damaged inputs of the dataset commands."""

import random

from tests.helpers import bad_input as bad
from tests.helpers import own_images as own
from tests.helpers.bad_input import LIMITED, NOWHERE, RAW, Struck, World
from tests.helpers.damage import HOSTILE, SOURCES, damaged_text
from tests.helpers.datasets import CLASSES
from todus.commands import verify
from todus.dataset.sources import coco, merge, voc


def limited(world: World, *named: str, touched=()) -> Struck:
    """dataset-limited.sh without a network."""
    world.variables(CATEGORIES=CLASSES, NAME="it", COCO_URL=NOWHERE, JOBS="1")
    world.variables(RETRIES="1", RETRY_WAIT="0", TIMEOUT="1")
    made = ("home/dataset/mscoco/it",)
    return Struck("dataset-limited", coco.main, ["limited"], named, made, tuple(touched))


def coco_annotations(world: World, seed: int) -> Struck:
    world.take("limited", RAW)
    split = ("train", "val")[seed // 2 % 2]
    path = world.home / RAW / "annotations" / ("instances_%s2017.json" % split)
    (world.home / RAW / "annotations_trainval2017.zip").unlink()
    (bad.spoil_json if seed % 3 else bad.spoil)(path, seed)
    return limited(world, path.name, NOWHERE, "%s: " % split, "no class", "no image has a box")


def coco_images(world: World, seed: int) -> Struck:
    world.take("limited", RAW)
    listed = sorted((world.home / RAW / "train2017").iterdir())
    path = bad.spoil_bytes(listed[seed % len(listed)], seed)
    return limited(world, path.name, touched=("home/%s/train2017/%s" % (RAW, path.name),))


def coco_archives(world: World, seed: int) -> Struck:
    name = RAW + "/annotations_trainval2017.zip"
    world.take("limited", name, RAW + "/train2017", RAW + "/val2017")
    path = bad.spoil_bytes(world.home / name, seed)
    return limited(world, path.name, touched=("home/" + name, "home/%s/annotations" % RAW))


def class_files(world: World, seed: int) -> Struck:
    world.take("limited", RAW)
    path = own.write(world.given / "CATEGORIES", "# mine\ncircle\nfour point star\n\nsquare\n")
    bad.spoil(path, seed)
    struck = limited(world, "CATEGORIES", "no class", "no image", NOWHERE)
    world.variables(CATEGORIES="@%s" % (path if seed % 9 else path.parent))
    return struck


def class_lists(world: World, seed: int) -> Struck:
    world.take("limited", RAW)
    chance = random.Random(seed)
    listed = HOSTILE + ["circle", "all", "@", "@/", ",", "@/dev/null"]
    words = [chance.choice(listed) for _ in range(chance.randrange(1, 4))]
    struck = limited(world, "CATEGORIES", "no class", "no image", NOWHERE)
    world.variables(CATEGORIES=chance.choice((" ", ", ", '"')).join(words).replace("\0", ""))
    return struck


def own_label_maps(world: World, seed: int) -> Struck:
    own.voc_folder(world.given / "voc", 5)
    text = 'item {\n  id: 3\n  name: "cat"\n}\nitem {\n  id: 1\n  display_name: "dog"\n}\n'
    path = own.write(world.given / "labels.pbtxt", damaged_text(text, seed) if seed % 2 else text)
    if not seed % 2:
        bad.spoil(path, seed)
    world.variables(LABEL_MAP=str(path), NAME="d", JOBS="1")
    folder, made = str(world.given / "voc"), ("home/dataset/voc",)
    return Struck("dataset-voc", voc.main, [folder], (path.name,), made)


def source(kind: str):
    def strike(world: World, seed: int) -> Struck:
        draw, folder, main, arguments = SOURCES[kind]
        path = draw(world.given)
        is_text = kind in ("xml", "json", "csv", "openimages")
        (bad.spoil if is_text else bad.spoil_bytes)(path, seed)
        world.variables(NAME="d", JOBS="1", CATEGORIES="Car" if folder == "openimages" else "")
        world.variables(OPENIMAGES_URL=str(world.given), SPLITS="validation")
        named, made = (path.name, path.stem, "image", "box"), ("home/dataset/%s" % folder,)
        return Struck("dataset-%s" % folder, main, arguments(world.given), named, made)

    return strike


def shards(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    path = bad.spoil_bytes(next((world.home / LIMITED).glob("train.record-*")), seed)
    return Struck("verify", verify.main, ["limited"], (path.name,))


def dataset_label_maps(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    path = bad.spoil(world.home / LIMITED / "label_map.pbtxt", seed)
    return Struck("verify", verify.main, ["limited"], (path.name, "label map"))


def manifests(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    path = bad.spoil_json(world.home / LIMITED / "dataset.json", seed)
    return Struck("verify", verify.main, ["limited"], (path.name,))


def merged_manifests(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    other = world.home / "dataset/mscoco/other"
    (world.home / LIMITED).rename(other)
    world.take("limited", LIMITED)
    path = bad.spoil_json(other / "dataset.json", seed)
    world.variables(NAME="both", CATEGORIES="", JOBS="1")
    named, made = (path.name, "dataset-merge: "), ("home/dataset/merged",)
    return Struck("dataset-merge", merge.main, ["limited", "other"], named, made)
