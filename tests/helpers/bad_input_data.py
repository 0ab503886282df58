"""Damaged inputs of the datasets: what is laid out, what is struck, and what is run."""

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
    world.variables(
        CATEGORIES=CLASSES,
        NAME="it",
        COCO_URL=NOWHERE,
        RETRIES="1",
        RETRY_WAIT="0",
        TIMEOUT="1",
        JOBS="1",
    )
    return Struck(
        "dataset-limited",
        coco.main,
        ["limited"],
        named,
        ("home/dataset/mscoco/it",),
        tuple(touched),
    )


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
    return limited(world, path.name, touched=("home/" + RAW + "/train2017/" + path.name,))


def coco_archives(world: World, seed: int) -> Struck:
    world.take(
        "limited", RAW + "/annotations_trainval2017.zip", RAW + "/train2017", RAW + "/val2017"
    )
    path = bad.spoil_bytes(world.home / RAW / "annotations_trainval2017.zip", seed)
    return limited(
        world, path.name, touched=("home/" + RAW + "/" + path.name, "home/" + RAW + "/annotations")
    )


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
    words = [
        chance.choice(HOSTILE + ["circle", "all", "@", "@/", ",", "@/dev/null"])
        for _ in range(chance.randrange(1, 4))
    ]
    struck = limited(world, "CATEGORIES", "no class", "no image", NOWHERE)
    world.variables(CATEGORIES=chance.choice((" ", ", ", '"')).join(words).replace("\0", ""))
    return struck


def own_label_maps(world: World, seed: int) -> Struck:
    own.voc_folder(world.given / "voc", 5)
    path = own.write(
        world.given / "labels.pbtxt",
        'item {\n  id: 3\n  name: "cat"\n}\nitem {\n  id: 1\n  display_name: "dog"\n}\n',
    )
    path.write_text(
        damaged_text(path.read_text(), seed), encoding="utf-8"
    ) if seed % 2 else bad.spoil(path, seed)
    world.variables(LABEL_MAP=str(path), NAME="d", JOBS="1")
    return Struck(
        "dataset-voc", voc.main, [str(world.given / "voc")], (path.name,), ("home/dataset/voc",)
    )


def source(kind: str):
    def strike(world: World, seed: int) -> Struck:
        draw, folder, main, arguments = SOURCES[kind]
        victim = draw(world.given)
        (bad.spoil if kind in ("xml", "json", "csv", "openimages") else bad.spoil_bytes)(
            victim, seed
        )
        categories = "Car" if folder == "openimages" else ""
        world.variables(
            NAME="d",
            JOBS="1",
            OPENIMAGES_URL=str(world.given),
            CATEGORIES=categories,
            SPLITS="validation",
        )
        named = (victim.name, victim.stem, "image", "box")
        return Struck(
            "dataset-%s" % folder,
            main,
            arguments(world.given),
            named,
            ("home/dataset/%s" % folder,),
        )

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
    named = (path.name, "dataset-merge: ")
    return Struck(
        "dataset-merge", merge.main, ["limited", "other"], named, ("home/dataset/merged",)
    )
