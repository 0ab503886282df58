"""Damaged inputs of the models: what is laid out, what is struck, and what is run."""

import json
from pathlib import Path

from tests.helpers import bad_input as bad
from tests.helpers import own_images as own
from tests.helpers.bad_input import LIMITED, Struck, World
from tests.helpers.damage import damaged_text, hostile
from tests.helpers.places import MODEL, ZOO
from todus.commands import convert, history, train
from todus.commands import model as model_command
from todus.commands import report as report_command
from todus.training import cluster, trainer

FOLDER = "model/%s" % MODEL
ARCHIVE = ZOO / (MODEL + ".tar.gz")


def _model(world: World, *arguments: str, named=()) -> Struck:
    return Struck(
        "model", model_command.main, ["-m", "m"] + list(arguments), tuple(named), ("home/model/m",)
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
    text = (world.home / FOLDER / "pretrained" / "zoo-pipeline.config").read_text(encoding="utf-8")
    (world.home / FOLDER / "pretrained" / "zoo-pipeline.config").unlink()
    path = own.write(world.given / "my.config", damaged_text(text, seed))
    return _model(
        world,
        "--archive",
        str(ARCHIVE),
        "--categories",
        "circle",
        "--config",
        str(path),
        named=(path.name, "class"),
    )


def zoo_label_maps(world: World, seed: int) -> Struck:
    text = "".join(
        'item {\n  id: %d\n  name: "%s"\n}\n' % pair
        for pair in enumerate(("circle", "square"), start=1)
    )
    path = bad.spoil(own.write(world.given / "labels.pbtxt", text), seed)
    return _model(
        world,
        "--archive",
        str(ARCHIVE),
        "--categories",
        "circle",
        "--label-map",
        str(path),
        named=(path.name, "label map", "no class"),
    )


def model_manifests(world: World, seed: int) -> Struck:
    world.take("limited", LIMITED)
    path = bad.spoil_json(world.home / LIMITED / "dataset.json", seed)
    return _model(world, "--archive", str(ARCHIVE), "-d", "limited", named=(path.name,))


def books(world: World) -> Path:
    """training/ as a trainer leaves it, without checkpoints."""
    folder = world.home / FOLDER / "training"
    world.take(
        "limited", FOLDER + "/pretrained/pipeline.config", FOLDER + "/pretrained/source.json"
    )
    start = {
        "started": "2024-01-01T00:00:00+0000",
        "pid": 1,
        "host": "h",
        "step": 0,
        "num_steps": 40,
        "batch_size": 8,
        "learning_rate": 0.01,
    }
    stop = {"stopped": "2024-01-01T01:00:00+0000", "step": 40, "reason": "reached num_steps"}
    run = {
        "todus": "1",
        "model": MODEL,
        "classes": ["circle"],
        "dataset": "limited",
        "versions": {"python": "3.7"},
        "events": [start, stop],
    }
    own.write(folder / "run.json", json.dumps(run))
    header = "step,time,seconds,images,sample,ap,ap50,ap75,ar100,train_images,train_ap,train_ap50\n"
    rows = "0,t,1.0,24,1,0.31,0.5,0.3,0.4,,,\n20,t,1.0,24,1,0.35,0.5,0.3,0.4,10,0.4,0.5\n40,t,1.0,24,1,0.30,0.5,0.3,0.4,10,0.5,0.6\n"
    own.write(folder / "metrics.csv", header + rows)
    own.write(
        folder / "status.json",
        json.dumps({"step": 40, "num_steps": 40, "loss": 1.5, "learning_rate": 0.01, "time": 1.0}),
    )
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    return folder


def book(name: str):
    def strike(world: World, seed: int) -> Struck:
        path = books(world) / name
        bad.spoil(path, seed) if name.endswith(".csv") else bad.spoil_json(path, seed)
        if seed % 4 == 3:
            return Struck("history", history.main, [], (name, FOLDER))
        return Struck("train", train.main, ["--status"], (name, "training"))

    return strike


def sources(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    path = bad.spoil_json(world.home / FOLDER / "pretrained" / "source.json", seed)
    return _eval(world, path.name, "dataset", "model")


def _eval(world: World, *named: str, arguments=("--checkpoint", "pretrained")) -> Struck:
    from todus.commands import evaluate as eval_command

    return Struck("eval", eval_command.main, ["-m", MODEL, "--limit", "1"] + list(arguments), named)


def pipelines(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    path = world.home / FOLDER / "pretrained" / "pipeline.config"
    bad.rewritten(path, damaged_text(path.read_text(encoding="utf-8"), seed).encode("utf-8"))
    return _eval(world, path.name)


def checkpoints(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    listed = sorted((world.home / FOLDER / "pretrained" / "limited").glob("model.ckpt.*"))
    bad.spoil_bytes(listed[seed % len(listed)], seed)
    return _eval(world, "model.ckpt")


def eval_shards(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    path = bad.spoil_bytes(next((world.home / LIMITED).glob("val.record-*")), seed)
    return _eval(world, path.name, arguments=("--checkpoint", "pretrained"))


def frozen_graphs(world: World, seed: int) -> Struck:
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    path = bad.spoil_bytes(world.home / FOLDER / "pretrained" / "frozen_inference_graph.pb", seed)
    return _eval(world, path.name, arguments=())


def uff_graphs(world: World, seed: int) -> Struck:
    from todus.commands import convert_uff

    world.take("limited", FOLDER + "/pretrained")
    source = world.home / FOLDER / "pretrained" / "source.json"
    prepared = dict(
        json.loads(source.read_text(encoding="utf-8")), zoo="ssd_mobilenet_v1_coco_2018_01_28"
    )
    bad.rewritten(source, json.dumps(prepared).encode("utf-8"))
    path = bad.spoil_bytes(world.home / FOLDER / "pretrained" / "frozen_inference_graph.pb", seed)
    made = tuple("home/%s/%s.%s" % (FOLDER, MODEL, end) for end in ("uff", "uff.json", "pbtxt"))
    return Struck("convert_uff", convert_uff.main, ["-m", MODEL], (path.name,), made)


def photos(world: World, seed: int) -> Struck:
    from todus.commands import detect

    world.take("limited", FOLDER + "/pretrained")
    kind = ("JPEG", "PNG", "GIF", "BMP", "TIFF")[seed // 8 % 5]
    path = bad.spoil_bytes(own.save(world.given / "photo.jpg", seed, format=kind), seed)
    return Struck(
        "detect",
        detect.main,
        ["-m", MODEL, str(path)],
        (path.name,),
        ("home/%s/detections" % FOLDER,),
    )


def tflite_descriptions(world: World, seed: int) -> Struck:
    from todus.commands import detect

    world.take("exported", FOLDER)
    path = bad.spoil_json(world.home / FOLDER / (MODEL + ".tflite.json"), seed)
    photo = own.save(world.given / "photo.jpg", seed)
    return Struck(
        "detect",
        detect.main,
        ["-m", MODEL, "--format", "tflite", str(photo)],
        (path.name,),
        ("home/%s/detections" % FOLDER,),
    )


def converted(world: World, seed: int) -> Struck:
    from todus.commands import detect

    world.take("exported", FOLDER)
    name = ("tflite", "onnx")[seed % 2]
    path = bad.spoil_bytes(world.home / FOLDER / ("%s.%s" % (MODEL, name)), seed // 2)
    photo = own.save(world.given / "photo.jpg", seed)
    return Struck(
        "detect",
        detect.main,
        ["-m", MODEL, "--format", name, str(photo)],
        (path.name,),
        ("home/%s/detections" % FOLDER,),
    )


def export_books(world: World, seed: int) -> Struck:
    world.take("exported", FOLDER)
    path = bad.spoil_json(world.home / FOLDER / "inference-graph" / "export.json", seed)
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    made = tuple(
        "home/%s/%s%s" % (FOLDER, MODEL, end)
        for end in (".tflite", ".tflite.json", "-fast.tflite", "-fast.tflite.json")
    )
    return Struck("convert-tflite", convert.main, ["tflite"], (path.name, "tflite_graph"), made)


def tflite_graphs(world: World, seed: int) -> Struck:
    world.take("exported", FOLDER)
    path = bad.spoil_bytes(world.home / FOLDER / "inference-graph" / "tflite_graph.pb", seed)
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    made = tuple("home/%s/%s%s" % (FOLDER, MODEL, end) for end in (".tflite", ".tflite.json"))
    return Struck("convert-tflite", convert.main, ["tflite"], (path.name,), made)


def onnx_graphs(world: World, seed: int) -> Struck:
    world.take("exported", FOLDER)
    path = bad.spoil_bytes(
        world.home / FOLDER / "inference-graph" / "frozen_inference_graph.pb", seed
    )
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    made = tuple("home/%s/%s%s" % (FOLDER, MODEL, end) for end in (".onnx", ".onnx.json"))
    return Struck("convert-onnx", convert.main, ["onnx"], (path.name, MODEL), made)


def reports(world: World, seed: int) -> Struck:

    world.take("limited", FOLDER + "/pretrained")
    figures = {
        "ap": 0.3,
        "ap50": 0.5,
        "ap75": 0.2,
        "ap_small": None,
        "ap_medium": 0.1,
        "ap_large": 0.4,
        "images": 24,
        "images_per_second": 9.5,
    }
    entry = dict(
        figures,
        title="frozen graph",
        format="frozen_graph",
        file="f.pb",
        bytes=1000,
        drop=0.0,
        per_class={"circle": 0.3},
    )
    entry.update(
        score_threshold=0.0,
        protocol="p",
        thresholds={"circle": {"threshold": 0.4, "precision": 0.9, "recall": 0.5, "f1": 0.6}},
    )
    path = own.write(world.home / FOLDER / "eval.json", json.dumps([entry]))
    bad.spoil_json(path, seed)
    return Struck(
        "report",
        report_command.main,
        ["-m", MODEL],
        (path.name,),
        ("home/%s/report.html" % FOLDER,),
    )


def train_up_to_its_steps(world: World, *named: str, arguments=()) -> Struck:
    """train.sh up to the point where it would train."""
    world.take("limited", FOLDER + "/pretrained", LIMITED)
    world.replace(trainer.Run, "run", lambda self: 0)
    world.replace(trainer, "take_part", lambda *_: 0)
    world.replace(trainer, "score_until_ended", lambda *_: 0)
    world.variables(MODEL_DIR=str(world.home / FOLDER))
    return Struck("train", train.main, list(arguments), named, (), ("home/%s/training" % FOLDER,))


def hosts_files(world: World, seed: int) -> Struck:
    text = "chief localhost:2222\nworker localhost:2223 CUDA_VISIBLE_DEVICES=1\nps 'localhost':2224  # a comment\n"
    text += 'worker host:2225 DIR="/a b"\n'
    path = own.write(world.given / "hosts", text)
    bad.spoil(path, seed) if seed % 3 else path.write_text(
        damaged_text(text, seed), encoding="utf-8"
    )
    world.replace(cluster.Launcher, "run", lambda self: 0)
    return train_up_to_its_steps(world, path.name, arguments=("--hosts", str(path)))
