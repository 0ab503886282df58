"""Every kind of input with its number of damages; damaged variables and arguments."""

import random
from typing import Dict

from tests.helpers import bad_input as bad
from tests.helpers import bad_input_data as data
from tests.helpers import bad_input_models as models
from tests.helpers import own_images as own
from tests.helpers.bad_input import NOWHERE, RAW, Kind, Struck, World
from tests.helpers.bad_input_models import ARCHIVE, FOLDER
from tests.helpers.damage import HOSTILE
from todus import variables as table
from todus.commands import convert, export, export_tflite, train
from todus.commands import model as model_command
from todus.dataset.sources import coco, voc

TASKS = ["chief", "worker", "ps", "evaluator", "master", "", None, 3, [], {}]


def tf_configs(world: World, seed: int) -> Struck:
    chance = random.Random(seed)
    config = {
        "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]},
        "task": {"type": chance.choice(TASKS), "index": seed % 4},
    }
    world.variables(TF_CONFIG=bad.damaged_json(config, seed))
    return models.train_up_to_its_steps(world, "TF_CONFIG", "no train records")


NONSENSE = ["x", "-1", "0", "1e400", "nan", "9" * 30, " ", "1;rm -rf /", "$(reboot)", "\x1b[2J"]
NONSENSE += ["\n1", "½", "\u0661", "true", "../..", "1 2", "0x10", "%s"]
# Commands whose variables are damaged.
MAINS = {
    "dataset-limited": coco.main,
    "dataset-voc": voc.main,
    "train": train.main,
    "export": export.main,
    "export-tflite": export_tflite.main,
    "convert-tflite": convert.main,
    "convert-onnx": convert.main,
}


def variables(world: World, seed: int) -> Struck:
    """Gives one variable of one command a nonsense value, in a world without a checkpoint."""
    chance = random.Random(seed)
    pairs = [
        (command, row.name)
        for command in MAINS
        for row in table.of_command(command)
        if row.name != "TODUS_HOME"
    ]
    command, name = pairs[seed % len(pairs)]
    named = (name, "no class", "no train records", "is missing", "no model", NOWHERE)
    if command == "dataset-limited":
        world.take("limited", RAW)
        struck = data.limited(world, *named, touched=("home/" + RAW,))
        struck = struck._replace(made=("home/dataset/mscoco",))
    elif command == "dataset-voc":
        folder = own.voc_folder(world.given / "voc", 5)
        world.variables(NAME="d", JOBS="1")
        struck = Struck(command, voc.main, [str(folder)], named, ("home/dataset/voc",))
    else:
        struck = models.train_up_to_its_steps(world, *named)
        for path in (world.home / FOLDER / "pretrained" / "limited").glob("model.ckpt.*"):
            path.unlink()
        argv = [command[len("convert-") :]] if command.startswith("convert-") else []
        struck = struck._replace(command=command, main=MAINS[command], argv=argv)
    world.variables(**{name: chance.choice(NONSENSE)})
    return struck


def model_names(world: World, seed: int) -> Struck:
    name = random.Random(seed).choice(HOSTILE + NONSENSE).replace("\0", "")
    options = ("--as", "-m", "-d", "--categories", "--archive", "--config")
    option = options[seed % 6]
    argv = ["-m", "m", "--archive", str(ARCHIVE)]
    if option not in ("-d", "--categories"):
        argv += ["--categories", "circle"]
    named = (*HOSTILE, "-m", "--as", "-d", "dataset", "class", "CATEGORIES", "archive", "config")
    return Struck("model", model_command.main, argv + [option, name], named, ("home/model",))


KINDS: Dict[str, Kind] = {
    "COCO annotations": Kind(46, 12, data.coco_annotations),
    "COCO images": Kind(18, 4, data.coco_images),
    "COCO archives": Kind(16, 4, data.coco_archives),
    "class files": Kind(16, 4, data.class_files),
    "class lists": Kind(12, 4, data.class_lists),
    "zoo archives": Kind(20, 4, models.zoo_archives),
    "zoo configs": Kind(24, 6, models.zoo_configs),
    "zoo label maps": Kind(8, 2, models.zoo_label_maps),
    "own label maps": Kind(16, 4, data.own_label_maps),
    "VOC XML": Kind(18, 5, data.source("xml")),
    "own JPEG": Kind(10, 2, data.source("jpeg")),
    "own PNG": Kind(4, 1, data.source("png")),
    "own GIF": Kind(4, 1, data.source("gif")),
    "Cloud Annotations JSON": Kind(14, 4, data.source("json")),
    "CSV": Kind(14, 4, data.source("csv")),
    "Open Images CSV": Kind(16, 4, data.source("openimages")),
    "TFRecord shards": Kind(20, 5, data.shards),
    "label maps of datasets": Kind(8, 2, data.dataset_label_maps),
    "dataset.json": Kind(16, 6, data.manifests),
    "dataset.json to merge": Kind(8, 3, data.merged_manifests),
    "dataset.json to prepare for": Kind(6, 1, models.model_manifests),
    "run.json": Kind(12, 5, models.training_file("run.json")),
    "metrics.csv": Kind(10, 4, models.training_file("metrics.csv")),
    "status.json": Kind(8, 3, models.training_file("status.json")),
    "source.json": Kind(8, 1, models.sources),
    "pipeline.config": Kind(10, 1, models.pipelines),
    "checkpoints": Kind(6, 1, models.checkpoints),
    "shards under evaluation": Kind(4, 1, models.eval_shards),
    "frozen graphs": Kind(6, 1, models.frozen_graphs),
    "frozen graphs for UFF": Kind(6, 1, models.uff_graphs),
    "photos": Kind(8, 1, models.photos),
    "FILE.json of TFLite": Kind(8, 0, models.tflite_descriptions),
    "TFLite and ONNX files": Kind(4, 0, models.converted),
    "export.json": Kind(6, 0, models.exports),
    "TFLite graphs": Kind(3, 0, models.tflite_graphs),
    "ONNX graphs": Kind(3, 0, models.onnx_graphs),
    "eval.json for the report": Kind(6, 1, models.reports),
    "TF_CONFIG": Kind(10, 4, tf_configs),
    "hosts files": Kind(12, 4, models.hosts_files),
    "variables": Kind(50, 18, variables),
    "names on the command line": Kind(6, 3, model_names),
}
