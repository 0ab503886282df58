"""What python -m model leaves under model/NAME, on a small random model."""

import os
import shutil

import pytest

from tests.helpers.families import SSD_FAMILIES, archive
from todus import categories, command, files, paths
from todus.commands import model as command_line
from todus.errors import TodusError, UsageError
from todus.machine import memory
from todus.model import checkpoints, pipeline, pipeline_options, prepare, prepared, zoo

TEXT = SSD_FAMILIES["mobilenet_v1"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return archive(TEXT, tmp_path_factory.mktemp("zoo") / "m.tar.gz")


def make(packed, name="m", **more):
    more.setdefault("categories", "bear horse")
    return prepare.prepare(
        paths.model(name), prepare.Request(zoo_name="m", archive=str(packed), **more), print
    )


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_pretrained_has_the_zoo_s_files_the_slice_and_both_configs(home, packed):
    make(packed)
    model = paths.model("m")
    found = set(snapshot(model.pretrained))
    assert {
        "model.ckpt.index",
        "zoo-pipeline.config",
        "pipeline.config",
        "label_map.pbtxt",
        "source.json",
    } <= found
    assert {"limited/model.ckpt.index", "limited/label_map.pbtxt"} <= found
    assert categories.read_label_map(model.limited_label_map) == {1: "horse", 2: "bear"}
    assert (
        pipeline.read(model.pipeline).model.ssd.num_classes == 2
        and pipeline.read(model.zoo_pipeline).model.ssd.num_classes == 90
    )
    assert os.listdir(str(model.folder)) == ["pretrained"]


def test_other_classes_start_from_the_pristine_checkpoint_and_leave_nothing_stale(home, packed):
    make(packed, options=pipeline_options.Options(batch_size=4))
    make(packed, categories="person giraffe zebra")
    model = paths.model("m")
    config = pipeline.read(model.pipeline)
    assert config.model.ssd.num_classes == 3 and config.train_config.batch_size == 2
    assert list(categories.read_label_map(model.limited_label_map).values()) == [
        "person",
        "zebra",
        "giraffe",
    ]
    assert len(categories.read_label_map(model.zoo_label_map)) == 80


def test_the_same_command_gives_the_same_files(home, packed):
    make(packed)
    before = snapshot(paths.model("m").pretrained)
    make(packed)
    assert snapshot(paths.model("m").pretrained) == before


def test_a_config_edited_by_hand_is_kept_beside_the_new_one(home, packed):
    make(packed)
    model = paths.model("m")
    files.write_text(model.pipeline, model.pipeline.read_text() + "# mine\n")
    made = make(packed)
    assert model.pipeline.read_text().endswith("# mine\n") is False
    assert (model.pretrained / "pipeline.config.edited-1").read_text().endswith("# mine\n")
    assert any("pipeline.config.edited-1" in note for note in made.notes)


@pytest.mark.parametrize(
    "more",
    [
        {"categories": "unicorn"},
        {"config": "/no/such/file"},
        {"label_map": "/no/such/file"},
        {"options": pipeline_options.Options(min_size=300)},
    ],
)
def test_what_fails_leaves_pretrained_as_it_was(home, packed, more):
    make(packed)
    before = snapshot(paths.model("m").folder)
    with pytest.raises(TodusError):
        make(packed, **more)
    assert snapshot(paths.model("m").folder) == before


def test_one_zoo_model_serves_two_products(home, packed):
    make(packed, name="cats", categories="cat")
    make(packed, name="dogs", categories="dog")
    assert [found.name for found in paths.models()] == ["cats", "dogs"]


def test_without_a_dataset_training_says_how_to_get_one(home, packed):
    make(packed)
    with pytest.raises(TodusError, match="prepared without a dataset"):
        prepared.dataset_of(paths.model("m"))


def test_the_slice_is_the_checkpoint_before_any_training(home, packed):
    make(packed)
    model = paths.model("m")
    assert (
        checkpoints.choose(model)
        == checkpoints.choose(model, "pretrained")
        == model.limited_checkpoint
    )
    with pytest.raises(UsageError, match="there is: pretrained"):
        checkpoints.choose(model, "model.ckpt-7")


def test_options_change_what_they_say_and_the_report_names_it(home, packed, capsys):
    arguments = "--batch-size 4 --steps 500 --learning-rate 0.01 --decay cosine --warmup-steps 20 --optimizer adam --augment flip,colour"
    arguments += " --freeze backbone --image-size 160x128 --max-detections 20 --score-threshold 0.2"
    line = ["-m", "m", "--archive", str(packed), "--categories", "bear"] + arguments.split()
    assert command.run("model", command_line.main, line) == 0
    config = pipeline.read(paths.model("m").pipeline)
    cosine = config.train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    assert cosine.learning_rate_base == pytest.approx(0.01) and (
        cosine.total_steps,
        cosine.warmup_steps,
    ) == (500, 20)
    steps = [
        option.WhichOneof("preprocessing_step")
        for option in config.train_config.data_augmentation_options
    ]
    assert steps == ["random_horizontal_flip", "random_distort_color"]
    assert config.model.ssd.freeze_batchnorm and list(config.train_config.freeze_variables) == [
        ".*FeatureExtractor/"
    ]
    assert pipeline.input_size(config) == (160, 128)
    assert "train_config.batch_size: 2 -> 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, said",
    [
        ("", "name a model with -m"),
        ("-m m", "give either -d DATASET or --categories"),
        ("-m m -d limited --categories bear", "give either"),
        ("-m m --categories bear --batch-size 0", "0: give auto, or a whole number from 1"),
        ("-m m --categories bear --learning-rate nan", "nan: give a number above 0"),
        ("-m m --categories bear --image-size 300", "300: give HEIGHTxWIDTH"),
        ("-m m --categories bear --decay linear", "invalid choice"),
        ("-m a/../b\tc --categories bear", "cannot be a folder's name"),
        ("-m m --categories bear --archive none.tar.gz", "is not a file"),
        ("-m m --categories bear --wrong", "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(home, capsys, line, said):
    assert command.run("model", command_line.main, line.split(" ") if line else []) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not paths.model("m").folder.exists()


def test_an_input_that_a_pyramid_cannot_add_up_is_refused_with_one_that_it_can():
    config = pipeline.parse(SSD_FAMILIES["mobilenet_v1_fpn"], "test")
    with pytest.raises(UsageError, match="take 256x256"):
        pipeline_options.apply(config, pipeline_options.Options(image_size=(300, 300)))
    said = []
    pipeline_options.apply(config, pipeline_options.Options(image_size=(320, 320)), said.append)
    assert "multiples of 128" in said[0]


@pytest.mark.parametrize(
    "options, said",
    [
        (pipeline_options.Options(weight_bits=4), "8 bits only"),
        (pipeline_options.Options(quantization_delay=5), "goes with -q"),
        (pipeline_options.Options(augment=["flop"]), "there is: none, flip"),
        (pipeline_options.Options(freeze="("), "no regular expression"),
        (pipeline_options.Options(max_size=600), "use --image-size"),
        (pipeline_options.Options(decay_steps=5), "go with --decay"),
        (pipeline_options.Options(decay="cosine", decay_steps=5, warmup_steps=5), "must be fewer"),
    ],
)
def test_an_option_the_model_has_no_use_for_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        pipeline_options.apply(pipeline.parse(TEXT, "test"), options)


def test_every_augmentation_is_one_the_object_detection_api_knows():
    for name in pipeline_options.AUGMENTATIONS:
        config = pipeline.parse(TEXT, "test")
        pipeline_options.apply(config, pipeline_options.Options(augment=[name]))
        assert pipeline.parse(pipeline.to_text(config), "test") == config


def test_a_batch_too_large_for_memory_is_warned_of_and_auto_fits(home, packed, monkeypatch):

    monkeypatch.setattr(memory, "devices", lambda: [("this machine", 900 << 20)])
    made = make(packed, options=pipeline_options.Options(batch_size=512), batch_auto=False)
    assert not any("batch size" in note for note in made.notes)
    config = pipeline.parse(TEXT, "test")
    config.train_config.batch_size = 512
    notes = []
    prepare._fit_batch(config, False, notes)
    assert "batch size 512 needs about" in notes[0] and "--batch-size" in notes[0]
    prepare._fit_batch(config, True, notes)
    assert 1 <= config.train_config.batch_size < 512


def test_the_archive_is_not_unpacked_again_for_other_classes(home, packed, monkeypatch):
    make(packed)
    monkeypatch.setattr(zoo, "unpack_archive", lambda *_: pytest.fail("unpacked again"))
    make(packed, categories="cat")


def rate_of(made):
    return made.config.train_config.optimizer.momentum_optimizer.learning_rate.constant_learning_rate.learning_rate


def test_trained_weights_get_a_hundredth_of_the_zoo_s_learning_rate_unless_another_is_given(
    home, packed
):
    made = make(packed)
    assert rate_of(made) == pytest.approx(0.001 * prepare.FINE_TUNING) and any(
        "--learning-rate" in note for note in made.notes
    )
    assert rate_of(
        make(packed, options=pipeline_options.Options(learning_rate=0.02))
    ) == pytest.approx(0.02)


def test_a_copied_tree_uses_its_own_files_and_keeps_a_person_s_paths(home, packed, tmp_path):
    make(packed)
    copy = tmp_path / "copy" / "model" / "m"
    shutil.copytree(str(paths.model("m").folder), str(copy))
    model = paths.Model(copy)
    assert prepared.resolved(model).train_config.fine_tune_checkpoint == str(
        model.limited_checkpoint
    )
    config = pipeline.read(model.pipeline)
    config.train_config.fine_tune_checkpoint = "/my/own/model.ckpt"
    pipeline.write(model.pipeline, config)
    assert prepared.resolved(model).train_config.fine_tune_checkpoint == "/my/own/model.ckpt"
