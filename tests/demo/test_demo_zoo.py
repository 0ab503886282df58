"""The archives of demo/zoo."""

import re
import tarfile

import pytest

from demo import shapes
from tests.helpers.places import REPO
from todus import categories

ARCHIVES = ["ssd_mobilenet_v1_shapes", "ssd_mobilenet_v1_quantized_shapes"]


@pytest.fixture(scope="module", params=ARCHIVES)
def archive(request):
    path = REPO / "demo" / "zoo" / (request.param + ".tar.gz")
    assert path.stat().st_size <= 2000000
    with tarfile.open(str(path)) as opened:
        members = {
            entry.name.rstrip("/"): opened.extractfile(entry).read() if entry.isfile() else None
            for entry in opened
        }
    return request.param, members


def test_an_archive_has_the_layout_of_the_zoo(archive):
    name, members = archive
    expected = {"checkpoint", "frozen_inference_graph.pb", "label_map.pbtxt", "pipeline.config"}
    expected |= {"model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta"}
    expected |= {"saved_model", "saved_model/saved_model.pb", "saved_model/variables"}
    assert set(members) == {name} | {name + "/" + each for each in expected}
    assert members[name + "/checkpoint"].startswith(b'model_checkpoint_path: "model.ckpt"')


def test_the_label_map_has_the_classes_of_demo_shapes(archive, tmp_path):
    name, members = archive
    (tmp_path / "label_map.pbtxt").write_bytes(members[name + "/label_map.pbtxt"])
    drawn = {shape.id: shape.name for shape in shapes.SHAPES}
    assert categories.read_label_map(tmp_path / "label_map.pbtxt") == drawn


def test_the_config_has_the_zoo_s_placeholder_paths_and_the_model_s_values(archive, tmp_path):
    from todus.model import pipeline

    name, members = archive
    text = members[name + "/pipeline.config"].decode()
    assert text.count("PATH_TO_BE_CONFIGURED/") >= 4
    assert not re.search(r'"/', text)
    (tmp_path / "pipeline.config").write_text(text)
    config = pipeline.read(tmp_path / "pipeline.config")
    assert config.model.ssd.num_classes == max(shape.id for shape in shapes.SHAPES)
    assert pipeline.input_size(config) == (128, 128)
    assert pipeline.is_quantized(config) == ("quantized" in name)
    assert pipeline.non_max_suppression(config).score_threshold == pytest.approx(1e-8)
    predictor = config.model.ssd.box_predictor.WhichOneof("box_predictor_oneof")
    assert predictor == "convolutional_box_predictor"


def test_only_the_quantized_checkpoint_has_ranges_and_none_has_optimizer_slots(archive):
    name, members = archive
    index = members[name + "/model.ckpt.index"]
    assert (b"quant/m" in index) == ("quantized" in name)
    assert b"Momentum" not in index
