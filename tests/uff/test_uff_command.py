"""python -m convert_uff: the models that it takes, their graphs and classes, and its messages."""

import pytest

from tests.helpers import uff_models
from todus import command, files, paths
from todus.commands import convert_uff
from todus.uff import scopes

NAME = "ssd_mobilenet_v1_coco_2018_01_28"


def run(capsys, *arguments):
    code = command.run("convert_uff", convert_uff.main, list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def text(num_classes=3):
    return uff_models.pipeline_text(NAME, num_classes, 128, features="depth_multiplier: 0.25")


def test_config_has_a_file_for_each_of_six_models():
    assert scopes.names() == [
        "ssd_inception_v2_coco_2017_11_17",
        "ssd_inception_v2_coco_2018_01_28",
        "ssd_mobilenet_v1_0.75_depth_300x300",
        "ssd_mobilenet_v1_coco_2018_01_28",
        "ssd_mobilenet_v2_coco_2018_03_29",
        "ssdlite_mobilenet_v2_coco_2018_05_09",
    ]
    for name in scopes.names():
        assert scopes.load(name).image[:2] == ("image_tensor", "Preprocessor")


def test_the_config_with_the_longest_matching_name_is_used(tmp_path, monkeypatch):
    for name in ("ssd_a", "ssd_a_0.75", "ssd_b"):
        (tmp_path / (name + ".py")).write_text("TO_FLOAT = ('%s',)\nANCHORS = ('x',)\n" % name)
    monkeypatch.setattr(scopes, "CONFIG", tmp_path)
    assert scopes.find("ssd_a_0.75_depth_2018") == "ssd_a_0.75"
    assert scopes.find("ssd_a_1.0_depth") == "ssd_a"
    assert scopes.find("ssd") is None
    assert scopes.load("ssd_a_0.75_depth_2018").image[-1] == "ssd_a_0.75"


def test_the_zoos_graph_keeps_the_zoos_classes_in_a_limited_model(home, capsys):
    model = uff_models.lay_out(NAME, text(), uff_models.frozen(text()), uff_models.classes(3))
    model.pipeline.write_text(text(2))
    code, out, err = run(capsys, "-m", NAME)
    assert code == 0 and out.strip() == str(model.file_of("uff"))
    assert "convert_uff: written by" in err and "next:" in err
    described = files.read_json(paths.beside_json(model.file_of("uff")))
    assert described["labels"] == ["background", "bear", "horse", "giraffe"]
    assert described["made_from"]["graph"].startswith("pretrained/")


def test_option_i_takes_the_exported_graph_with_its_classes(home, capsys):
    uff_models.lay_out(NAME, text(), uff_models.frozen(text()), uff_models.classes(3))
    model = uff_models.lay_out(NAME, text(1), uff_models.frozen(text(1)), {1: "dog"}, exported=True)
    assert run(capsys, "-m", NAME, "-i")[0] == 0
    described = files.read_json(paths.beside_json(model.file_of("uff")))
    assert described["labels"] == ["background", "dog"]
    assert described["made_from"]["graph"].startswith("inference-graph/")


def test_option_bgr_is_written_beside_the_file(home, capsys):
    model = uff_models.lay_out(NAME, text(), uff_models.frozen(text()), uff_models.classes(3))
    for option, color in (([], "RGB"), (["--bgr"], "BGR")):
        assert run(capsys, "-m", NAME, *option)[0] == 0
        described = files.read_json(paths.beside_json(model.file_of("uff")))
        assert described["input"]["color"] == color


def test_a_model_under_another_name_takes_the_config_of_its_zoo_model(home, capsys):
    model = uff_models.lay_out("animals", text(), uff_models.frozen(text()), uff_models.classes(3))
    code, _, err = run(capsys, "-m", "animals")
    assert code == 2 and "animals does not convert" in err
    files.write_json(model.pretrained / "source.json", {"zoo": NAME})
    assert run(capsys, "-m", "animals")[0] == 0
    assert model.file_of("uff").name == "animals.uff"


@pytest.mark.parametrize(
    "name",
    [
        "ssd_mobilenet_v3_large_coco_2020_01_14",
        "mask_rcnn_inception_v2_coco_2018_01_28",
        "ssd",
        "nonsense",
    ],
)
def test_a_model_without_config_gets_the_list(home, capsys, name):
    code, _, err = run(capsys, "-m", name)
    assert code == 2 and err.count("\n") == 1
    assert all(each in err for each in scopes.names())


def test_a_missing_file_is_reported_with_the_command_that_makes_it(home, capsys):
    code, _, err = run(capsys, "-m", NAME)
    assert code == 1 and "python -m model -m " + NAME in err
    model = uff_models.lay_out(NAME, text(), uff_models.frozen(text()), uff_models.classes(3))
    code, _, err = run(capsys, "-m", NAME, "-i")
    assert code == 1 and "./export.sh" in err
    model.zoo_frozen_graph.unlink()
    code, _, err = run(capsys, "-m", NAME)
    assert code == 1 and "frozen_inference_graph.pb is missing" in err and "-i" in err


def test_a_missing_model_argument_is_a_usage_error(home, capsys):
    code, _, err = run(capsys)
    assert code == 2 and "-m" in err


def test_a_limit_for_each_class_is_noted(home, capsys):
    config = text().replace("max_detections_per_class: 100", "max_detections_per_class: 20")
    uff_models.lay_out(NAME, config, uff_models.frozen(text()), uff_models.classes(3))
    code, _, err = run(capsys, "-m", NAME)
    assert code == 0 and "max_detections_per_class is 20" in err


def test_a_config_with_a_syntax_error_is_reported_with_its_name(
    home, capsys, tmp_path, monkeypatch
):
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / (NAME + ".py")).write_text("TO_FLOAT = (")
    monkeypatch.setattr(scopes, "CONFIG", folder)
    uff_models.lay_out(NAME, text(), uff_models.frozen(text()), uff_models.classes(3))
    code, _, err = run(capsys, "-m", NAME)
    assert code == 1 and NAME + ".py is not a UFF config" in err
