"""Kinds of damaged inputs of the model commands."""

import json
from pathlib import Path

from tests.helpers import bad_input as bad
from tests.helpers import own_images as own
from tests.helpers.bad_input import LIMITED, Struck, World
from tests.helpers.damage import damaged_text, hostile
from tests.helpers.places import MODEL, ZOO
from todus.commands import convert, convert_uff, detect, history, train
from todus.commands import evaluate as eval_command
from todus.commands import model as model_command
from todus.commands import report as report_command
from todus.training import cluster, trainer

FOLDER = "model/%s" % MODEL
ARCHIVE = ZOO / (MODEL + ".tar.gz")


def _model(world: World, *arguments: str, named=()) -> Struck:
    argv = ["-m", "m", *arguments]
    return Struck("model", model_command.main, argv, tuple(named), ("home/model/m",))


def _limited_model(world: World, *arguments: str, named=()) -> Struck:
    return _model(
        world, "--archive", str(ARCHIVE), "--categories", "circle", *arguments, named=named
    )


def zoo_archives(world: World, seed: int) -> Struck:
    path, data = world.given / "bad.tar.gz", ARCHIVE.read_bytes()
    if seed % 2:
        hostile(seed // 2, data, path)
    else:
        path.write_bytes(bad.broken(data, seed // 2))
    return _model(world, "--archive", str(path), "--categories", "circle", named=(path.name,))


def zoo_configs(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained/zoo-pipeline.config")
    config = world.home / FOLDER / "pretrained" / "zoo-pipeline.config"
    text = damaged_text(config.read_text(encoding="utf-8"), seed)
    config.unlink()
    path = own.write(world.given / "my.config", text)
    return _limited_model(world, "--config", str(path), named=(path.name, "class"))


def zoo_label_maps(world: World, seed: int) -> Struck:
    item = 'item {\n  id: %d\n  name: "%s"\n}\n'
    text = item % (1, "circle") + item % (2, "square")
    path = bad.spoil(own.write(world.given / "labels.pbtxt", text), seed)
    named = (path.name, "label map", "no class")
    return _limited_model(world, "--label-map", str(path), named=named)


def model_manifests(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    path = bad.spoil_json(world.home / LIMITED / "dataset.json", seed)
    return _model(world, "--archive", str(ARCHIVE), "-d", "limited", named=(path.name,))


def write_training(world: World) -> Path:
    """Writes training/ as a trainer does, without checkpoints."""
    folder = world.home / FOLDER / "training"
    for name in ("pipeline.config", "source.json"):
        world.take("limited", "%s/pretrained/%s" % (FOLDER, name))
    start = {"started": "2024-01-01T00:00:00+0000", "pid": 1, "host": "h", "step": 0}
    start.update(num_steps=40, batch_size=8, learning_rate=0.01)
    stop = {"stopped": "2024-01-01T01:00:00+0000", "step": 40, "reason": "reached num_steps"}
    run = {"todus": "1", "model": MODEL, "classes": ["circle"], "dataset": "limited"}
    run.update(versions={"python": "3.7"}, events=[start, stop])
    own.write(folder / "run.json", json.dumps(run))
    rows = [
        "step,time,seconds,images,sample,ap,ap50,ap75,ar100,train_images,train_ap,train_ap50",
        "0,t,1.0,24,1,0.31,0.5,0.3,0.4,,,",
        "20,t,1.0,24,1,0.35,0.5,0.3,0.4,10,0.4,0.5",
        "40,t,1.0,24,1,0.30,0.5,0.3,0.4,10,0.5,0.6",
    ]
    own.write(folder / "metrics.csv", "\n".join(rows) + "\n")
    status = {"step": 40, "num_steps": 40, "loss": 1.5, "learning_rate": 0.01, "time": 1.0}
    own.write(folder / "status.json", json.dumps(status))
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    return folder


def training_file(name: str):
    def strike(world: World, seed: int) -> Struck:
        spoil = bad.spoil if name.endswith(".csv") else bad.spoil_json
        spoil(write_training(world) / name, seed)
        if seed % 4 == 3:
            return Struck("history", history.main, [], (name, FOLDER))
        return Struck("train", train.main, ["--status"], (name, "training"))

    return strike


def _pretrained(world: World, name: str) -> Path:
    """The path of a file in pretrained/ of a prepared model with its dataset."""
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    return world.home / FOLDER / "pretrained" / name


def _eval(*named: str, arguments=("--checkpoint", "pretrained")) -> Struck:
    return Struck("eval", eval_command.main, ["-m", MODEL, "--limit", "1", *arguments], named)


def sources(world: World, seed: int) -> Struck:
    path = bad.spoil_json(_pretrained(world, "source.json"), seed)
    return _eval(path.name, "dataset", "model")


def pipelines(world: World, seed: int) -> Struck:
    path = _pretrained(world, "pipeline.config")
    bad.rewritten(path, damaged_text(path.read_text(encoding="utf-8"), seed).encode("utf-8"))
    return _eval(path.name)


def checkpoints(world: World, seed: int) -> Struck:
    listed = sorted(_pretrained(world, "limited").glob("model.ckpt.*"))
    bad.spoil_bytes(listed[seed % len(listed)], seed)
    return _eval("model.ckpt")


def eval_shards(world: World, seed: int) -> Struck:
    _pretrained(world, "")
    path = bad.spoil_bytes(next((world.home / LIMITED).glob("val.record-*")), seed)
    return _eval(path.name)


def frozen_graphs(world: World, seed: int) -> Struck:
    path = bad.spoil_bytes(_pretrained(world, "frozen_inference_graph.pb"), seed)
    return _eval(path.name, arguments=())


def uff_graphs(world: World, seed: int) -> Struck:
    source = _pretrained(world, "source.json")
    prepared = json.loads(source.read_text(encoding="utf-8"))
    prepared["zoo"] = "ssd_mobilenet_v1_coco_2018_01_28"
    bad.rewritten(source, json.dumps(prepared).encode("utf-8"))
    path = bad.spoil_bytes(source.parent / "frozen_inference_graph.pb", seed)
    made = _converted("uff", "uff.json", "pbtxt")
    return Struck("convert_uff", convert_uff.main, ["-m", MODEL], (path.name,), made)


def _converted(*endings: str):
    """The paths of converted models, for Struck.made."""
    return tuple("home/%s/%s.%s" % (FOLDER, MODEL, end) for end in endings)


def _detect(photo: Path, *named: str, arguments=()) -> Struck:
    argv, made = ["-m", MODEL, *arguments, str(photo)], ("home/%s/detections" % FOLDER,)
    return Struck("detect", detect.main, argv, named, made)


def photos(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained")
    kind = ("JPEG", "PNG", "GIF", "BMP", "TIFF")[seed // 8 % 5]
    path = bad.spoil_bytes(own.save(world.given / "photo.jpg", seed, format=kind), seed)
    return _detect(path, path.name)


def tflite_descriptions(world: World, seed: int) -> Struck:
    world.take("exported", FOLDER)
    path = bad.spoil_json(world.home / FOLDER / (MODEL + ".tflite.json"), seed)
    photo = own.save(world.given / "photo.jpg", seed)
    return _detect(photo, path.name, arguments=("--format", "tflite"))


def converted(world: World, seed: int) -> Struck:
    world.take("exported", FOLDER)
    name = ("tflite", "onnx")[seed % 2]
    path = bad.spoil_bytes(world.home / FOLDER / ("%s.%s" % (MODEL, name)), seed // 2)
    photo = own.save(world.given / "photo.jpg", seed)
    return _detect(photo, path.name, arguments=("--format", name))


def _exported(world: World, name: str) -> Path:
    """The path of a file in inference-graph/ of an exported model, which MODEL_DIR names."""
    world.take("exported", FOLDER)
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    return world.home / FOLDER / "inference-graph" / name


def exports(world: World, seed: int) -> Struck:
    path = bad.spoil_json(_exported(world, "export.json"), seed)
    made = _converted("tflite", "tflite.json")
    made += tuple("home/%s/%s-fast.%s" % (FOLDER, MODEL, end) for end in ("tflite", "tflite.json"))
    return Struck("convert-tflite", convert.main, ["tflite"], (path.name, "tflite_graph"), made)


def tflite_graphs(world: World, seed: int) -> Struck:
    path = bad.spoil_bytes(_exported(world, "tflite_graph.pb"), seed)
    made = _converted("tflite", "tflite.json")
    return Struck("convert-tflite", convert.main, ["tflite"], (path.name,), made)


def onnx_graphs(world: World, seed: int) -> Struck:
    path = bad.spoil_bytes(_exported(world, "frozen_inference_graph.pb"), seed)
    made = _converted("onnx", "onnx.json")
    return Struck("convert-onnx", convert.main, ["onnx"], (path.name, MODEL), made)


def reports(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained")
    entry = {"ap": 0.3, "ap50": 0.5, "ap75": 0.2, "ap_small": None, "ap_medium": 0.1}
    entry.update(ap_large=0.4, images=24, images_per_second=9.5, drop=0.0, bytes=1000)
    entry.update(title="frozen graph", format="frozen_graph", file="f.pb", protocol="p")
    picked = {"threshold": 0.4, "precision": 0.9, "recall": 0.5, "f1": 0.6}
    entry.update(per_class={"circle": 0.3}, score_threshold=0.0, thresholds={"circle": picked})
    path = own.write(world.home / FOLDER / "eval.json", json.dumps([entry]))
    bad.spoil_json(path, seed)
    made = ("home/%s/report.html" % FOLDER,)
    return Struck("report", report_command.main, ["-m", MODEL], (path.name,), made)


def train_up_to_its_steps(world: World, *named: str, arguments=()) -> Struck:
    """train.sh with functions that do nothing in place of the training."""
    _pretrained(world, "")
    world.replace(trainer.Run, "run", lambda self: 0)
    world.replace(trainer, "run_task", lambda *_: 0)
    world.replace(trainer, "score_until_ended", lambda *_: 0)
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    return Struck("train", train.main, list(arguments), named, (), ("home/%s/training" % FOLDER,))


def hosts_files(world: World, seed: int) -> Struck:
    path = own.write(world.given / "hosts", bad.HOSTS)
    if seed % 3:
        bad.spoil(path, seed)
    else:
        path.write_text(damaged_text(bad.HOSTS, seed), encoding="utf-8")
    world.replace(cluster.Launcher, "run", lambda self: 0)
    return train_up_to_its_steps(world, path.name, arguments=("--hosts", str(path)))
