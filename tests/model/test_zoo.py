import tarfile

import pytest

from todus.errors import TodusError, UsageError
from todus.model import zoo
from todus.paths import Model


def archive(tmp_path, *names):
    """A .tar.gz whose members hold their own names."""
    path = tmp_path / "model.tar.gz"
    inside = tmp_path / "inside"
    for name in names:
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(name)
    with tarfile.open(str(path), "w:gz") as tar:
        tar.add(str(inside), arcname=".")
    return path


def unpacked(tmp_path, *names, quantized=False):
    folder = tmp_path / "out"
    folder.mkdir()
    zoo.unpack_archive(archive(tmp_path, *names), folder, quantized)
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "checkpoint"
    }


def ckpt(prefix):
    return [prefix + ending for ending in (".index", ".data-00000-of-00001", ".meta")]


def test_the_usual_layout_of_the_zoo_is_unpacked(tmp_path):
    names = ["frozen_inference_graph.pb", "saved_model/saved_model.pb", *ckpt("model.ckpt")]
    found = unpacked(tmp_path, "m/pipeline.config", *("m/" + name for name in names))
    assert found == dict(
        {name: "m/" + name for name in names}, **{"zoo-pipeline.config": "m/pipeline.config"}
    )


def test_the_highest_step_is_taken_and_frozen_graph_pb_is_renamed(tmp_path):
    found = unpacked(
        tmp_path,
        "m/pipeline.config",
        "m/frozen_graph.pb",
        *(ckpt("m/model.ckpt-400000") + ckpt("m/model.ckpt-1000")),
    )
    assert found["model.ckpt.index"] == "m/model.ckpt-400000.index"
    assert found["frozen_inference_graph.pb"] == "m/frozen_graph.pb"


@pytest.mark.parametrize("quantized, half", [(False, "fp32"), (True, "uint8")])
def test_the_requested_half_of_an_archive_with_fp32_and_uint8_is_taken(tmp_path, quantized, half):
    names = [
        "m/%s/%s" % (each, name)
        for each in ("fp32", "uint8")
        for name in ["pipeline.config"] + ckpt("model.ckpt-400000")
    ]
    found = unpacked(tmp_path, *names, quantized=quantized)
    assert found["model.ckpt.meta"] == "m/%s/model.ckpt-400000.meta" % half
    assert found["zoo-pipeline.config"] == "m/%s/pipeline.config" % half


def test_the_config_and_label_map_of_a_folder_above_the_checkpoint_are_taken(tmp_path):
    names = ["pipeline.config", "label_map.pbtxt", *ckpt("ckpt/model.ckpt-7")]
    found = unpacked(tmp_path, *("a/tf1/m/" + name for name in names))
    assert found["zoo-pipeline.config"] == "a/tf1/m/pipeline.config"
    assert found["label_map.pbtxt"] == "a/tf1/m/label_map.pbtxt"


def test_an_archive_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(TodusError, match="holds no checkpoint"):
        unpacked(tmp_path, "m/pipeline.config", "m/saved_model/variables/variables.index")


def test_the_table_has_every_model_once_with_a_known_kind():
    names = [entry.name for entry in zoo.table()]
    assert len(set(names)) == len(names) > 35
    assert all(entry.labels in ("coco", "openimages") for entry in zoo.table())


@pytest.mark.parametrize(
    "name, archive",
    [
        ("ssd_mobilenet_v1_coco_2018_01_28", "ssd_mobilenet_v1_coco_2018_01_28.tar.gz"),
        ("spaghettinet_edgetpu_s_2021_10_13", "tf1/spaghettinet_edgetpu_s_2021_10_13.tar.gz"),
        ("my_model", "my_model.tar.gz"),
    ],
)
def test_an_archive_is_below_zoo_url_at_the_path_in_the_table(monkeypatch, name, archive):
    monkeypatch.setenv("ZOO_URL", "http://mirror/zoo/")
    assert zoo.archive_url(name) == "http://mirror/zoo/" + archive


def test_the_nearest_names_are_found_for_an_unknown_one():
    assert zoo.nearest("ssd_mobilenet_v1_coco") == ["ssd_mobilenet_v1_coco_2018_01_28"]
    assert "ssdlite_mobilenet_v2_coco_2018_05_09" in zoo.nearest("ssd_lite_mobilenet_v2_coco_2018")
    assert zoo.nearest("yolo") == []


def test_a_local_archive_that_does_not_exist_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="is not a file"):
        zoo.fetch_archive("m", str(tmp_path / "none.tar.gz"), tmp_path)


def test_the_archive_s_label_map_is_used_before_the_table_s(tmp_path):
    model = Model(tmp_path)
    model.pretrained.mkdir()
    assert zoo.label_map_of("ssd_mobilenet_v2_oid_v4_2018_12_12", model.pretrained)[1] == "Tortoise"
    assert zoo.label_map_of("somebody_s", model.pretrained)[90] == "toothbrush"
    model.zoo_label_map.write_text("item { id: 1 name: 'face' }")
    assert zoo.label_map_of("ssd_mobilenet_v2_oid_v4_2018_12_12", model.pretrained) == {1: "face"}
