"""The files that python -m model writes to model/NAME, for a small random model."""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from demo.server import Server
from tests.helpers.datasets import annotated, build
from tests.helpers.families import SSD_FAMILIES, archive
from tests.helpers.own_images import tree
from tests.helpers.places import MODEL, REPO, ZOO
from todus import categories, command, files, locks, paths
from todus.commands import model as command_line
from todus.dataset.records.writer import Content, write_dataset
from todus.errors import TodusError, UsageError
from todus.machine import memory
from todus.model import checkpoints, pipeline, pipeline_options, prepare, prepared, zoo
from todus.model.pipeline_options import Options

TEXT = SSD_FAMILIES["mobilenet_v1"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return archive(TEXT, tmp_path_factory.mktemp("zoo") / "m.tar.gz")


def make(packed, name="m", **more):
    more.setdefault("categories", "bear horse")
    request = prepare.Request(zoo_name="m", archive=str(packed), **more)
    return prepare.prepare(paths.model(name), request)


def test_pretrained_has_the_zoo_s_files_the_slice_and_both_configs(home, packed):
    make(packed)
    model = paths.model("m")
    found = set(tree(model.pretrained))
    assert found >= {"model.ckpt.index", "zoo-pipeline.config", "pipeline.config"}
    assert found >= {"label_map.pbtxt", "source.json"}
    assert found >= {"limited/model.ckpt.index", "limited/label_map.pbtxt"}
    assert categories.read_label_map(model.limited_label_map) == {1: "horse", 2: "bear"}
    assert pipeline.read(model.pipeline).model.ssd.num_classes == 2
    assert pipeline.read(model.zoo_pipeline).model.ssd.num_classes == 90
    assert os.listdir(str(model.folder)) == ["pretrained"]


def test_other_classes_and_options_replace_those_of_the_last_preparation(home, packed):
    make(packed, options=Options(batch_size=4))
    make(packed, categories="person giraffe zebra")
    model = paths.model("m")
    config = pipeline.read(model.pipeline)
    assert config.model.ssd.num_classes == 3 and config.train_config.batch_size == 2
    names = categories.read_label_map(model.limited_label_map).values()
    assert list(names) == ["person", "zebra", "giraffe"]
    assert len(categories.read_label_map(model.zoo_label_map)) == 80


def test_the_same_command_gives_the_same_files(home, packed):
    make(packed)
    before = tree(paths.model("m").pretrained)
    make(packed)
    assert tree(paths.model("m").pretrained) == before


def test_a_config_that_the_user_edited_is_kept_beside_the_new_one(home, packed):
    make(packed)
    model = paths.model("m")
    files.write_text(model.pipeline, model.pipeline.read_text() + "# mine\n")
    made = make(packed)
    assert not model.pipeline.read_text().endswith("# mine\n")
    assert (model.pretrained / "pipeline.config.edited-1").read_text().endswith("# mine\n")
    assert any("pipeline.config.edited-1" in note for note in made.notes)


@pytest.mark.parametrize(
    "more",
    [
        {"categories": "unicorn"},
        {"config": "/no/such/file"},
        {"label_map": "/no/such/file"},
        {"options": Options(min_size=300)},
    ],
)
def test_a_preparation_that_fails_leaves_pretrained_unchanged(home, packed, more):
    make(packed)
    before = tree(paths.model("m").folder)
    with pytest.raises(TodusError):
        make(packed, **more)
    assert tree(paths.model("m").folder) == before


def test_one_zoo_model_can_be_prepared_under_several_names(home, packed):
    make(packed, name="cats", categories="cat")
    make(packed, name="dogs", categories="dog")
    assert [found.name for found in paths.models()] == ["cats", "dogs"]


def test_a_model_prepared_without_a_dataset_has_none_to_train_on(home, packed):
    make(packed)
    with pytest.raises(TodusError, match="prepared without a dataset"):
        prepared.dataset_of(paths.model("m"))


def test_the_slice_is_the_checkpoint_before_any_training(home, packed):
    make(packed)
    model = paths.model("m")
    assert checkpoints.choose(model) == model.limited_checkpoint
    assert checkpoints.choose(model, "pretrained") == model.limited_checkpoint
    with pytest.raises(UsageError, match="choose from pretrained"):
        checkpoints.choose(model, "model.ckpt-7")


def test_options_are_set_in_the_config_and_their_changes_are_printed(home, packed, capsys):
    options = (
        "--batch-size 4 --steps 500 --learning-rate 0.01 --decay cosine --warmup-steps 20 "
        "--optimizer adam --augment flip,colour --freeze backbone --image-size 160x128 "
        "--max-detections 20 --score-threshold 0.2"
    )
    arguments = ["-m", "m", "--archive", str(packed), "--categories", "bear"] + options.split()
    assert command.run("model", command_line.main, arguments) == 0
    config = pipeline.read(paths.model("m").pipeline)
    train = config.train_config
    cosine = train.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    assert cosine.learning_rate_base == pytest.approx(0.01)
    assert (cosine.total_steps, cosine.warmup_steps) == (500, 20)
    steps = [each.WhichOneof("preprocessing_step") for each in train.data_augmentation_options]
    assert steps == ["random_horizontal_flip", "random_distort_color"]
    assert config.model.ssd.freeze_batchnorm
    assert list(train.freeze_variables) == [".*FeatureExtractor/"]
    assert pipeline.input_size(config) == (160, 128)
    assert "train_config.batch_size: 2 -> 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, message",
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
def test_wrong_usage_is_refused_in_one_line_with_exit_code_2(home, capsys, line, message):
    assert command.run("model", command_line.main, line.split(" ") if line else []) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not paths.model("m").folder.exists()


def test_an_input_size_that_a_feature_pyramid_does_not_support_is_refused_with_one_that_it_does():
    config = pipeline.parse(SSD_FAMILIES["mobilenet_v1_fpn"], "test")
    with pytest.raises(UsageError, match="take 256x256"):
        pipeline_options.apply(config, Options(image_size=(300, 300)))
    warnings = []
    options = Options(image_size=(320, 320))
    pipeline_options.apply(config, options, warnings.append)
    assert "multiples of 128" in warnings[0]


@pytest.mark.parametrize(
    "options, message",
    [
        (Options(weight_bits=4), "8 bits only"),
        (Options(quantization_delay=5), "goes with -q"),
        (Options(augment=["flop"]), "choose from none, flip"),
        (Options(freeze="("), "not a regular expression"),
        (Options(max_size=600), "use --image-size"),
        (Options(decay_steps=5), "go with --decay"),
        (Options(decay="cosine", decay_steps=5, warmup_steps=5), "must be fewer"),
    ],
)
def test_an_option_that_the_model_does_not_support_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        pipeline_options.apply(pipeline.parse(TEXT, "test"), options)


@pytest.mark.parametrize("name", sorted(pipeline_options.AUGMENTATIONS))
def test_every_augmentation_is_one_of_the_od_api(name):
    config = pipeline.parse(TEXT, "test")
    pipeline_options.apply(config, Options(augment=[name]))
    assert pipeline.parse(pipeline.to_text(config), "test") == config


def test_a_batch_size_too_large_for_memory_is_warned_of_or_reduced_by_auto(
    home, packed, monkeypatch
):
    monkeypatch.setattr(memory, "devices", lambda: [("this machine", 900 << 20)])
    options = Options(batch_size=512)
    assert not any("batch size" in note for note in make(packed, options=options).notes)
    notes = make(packed, options=options, dataset=build(home)).notes
    (warning,) = [note for note in notes if "batch size 512 needs about" in note]
    assert "--batch-size" in warning
    made = make(packed, options=options, batch_auto=True)
    assert 1 <= made.config.train_config.batch_size < 512
    given = Options(batch_size=512, learning_rate=0.02)
    made = make(packed, options=given, batch_auto=True)
    rate = pipeline.optimizer(made.config).learning_rate.constant_learning_rate.learning_rate
    assert rate == pytest.approx(0.02) and made.config.train_config.batch_size < 512


def test_an_image_size_that_the_network_cannot_have_is_refused_in_one_line(home, packed, capsys):
    line = "-m m --archive %s -d %s --image-size 16x16" % (packed, build(home).name)
    assert command.run("model", command_line.main, line.split()) == 2
    error = capsys.readouterr().err
    assert "cannot be built for 16x16 pixels" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", ".x", "~/x"])
def test_a_name_that_leads_out_of_the_models_is_wrong_usage(home, packed, name, capsys):
    argv = ["-m", "m", "--archive", str(packed), "--categories", "bear", "--as", name]
    assert command.run("model", command_line.main, argv) == 2
    assert "--as=%s cannot be a folder's name" % name in capsys.readouterr().err
    assert not (home / "model").exists() and not (home.parent / "x").exists()


def test_another_mirror_is_not_asked_for_a_model_that_is_there(home, packed, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    name = "ssd_mobilenet_v1_coco_2018_01_28"
    shutil.copy(str(packed), str(tmp_path / "site" / (name + ".tar.gz")))
    model = paths.model("m")
    with Server(tmp_path / "site") as server:
        monkeypatch.setenv("ZOO_URL", server.url.replace("://", "://me:secret@"))
        prepare.prepare(model, prepare.Request(name, categories="bear"))
    assert "secret" not in (model.pretrained / "source.json").read_text()
    monkeypatch.setenv("ZOO_URL", "http://127.0.0.1:9/elsewhere")
    prepare.prepare(model, prepare.Request(name, categories="person horse"))
    assert len(categories.read_label_map(model.limited_label_map)) == 2


def test_a_model_in_training_is_not_prepared_again(home, packed):
    make(packed)
    model = paths.model("m")
    before = tree(model.pretrained)
    refused = pytest.raises(TodusError, match="m is in training by PID %d .*--stop" % os.getpid())
    with locks.exclusive(model.training, "x"), refused:
        make(packed, categories="person")
    assert tree(model.pretrained) == before


def test_a_full_disk_at_any_point_is_an_error_of_one_line(tmp_path):
    line = 'mount -t tmpfs -o size=$1 tmpfs "$2" && cd "$3" && TODUS_HOME="$2" exec "$4" '
    line += "-m model -m m "
    line += '--archive "$5" --categories circle'
    mount = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", line, "bash"]
    if subprocess.run([*mount[:4], "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs unshare with mounts")
    # The room for the zoo's files, and for a part of the slice's checkpoint.
    archived = str(ZOO / (MODEL + ".tar.gz"))
    command = [*mount, "9m", str(tmp_path), str(REPO), sys.executable, archived]
    done = subprocess.run(command, stderr=subprocess.PIPE)
    (message,) = done.stderr.decode().splitlines()
    assert done.returncode == 1 and message.startswith("model: No space left on device: /")


@pytest.mark.parametrize("place", [0.5, -5])
def test_an_archive_with_a_changed_byte_is_refused(home, packed, tmp_path, place):
    data = bytearray(packed.read_bytes())
    at = place if place < 0 else int(place * len(data))
    data[at] ^= 1
    path = tmp_path / "changed.tar.gz"
    path.write_bytes(data)
    with pytest.raises(TodusError, match="is damaged"):
        make(path)
    assert not paths.model("m").folder.exists()


def test_an_archive_that_cannot_be_unpacked_is_fetched_again_from_the_mended_server(
    home, packed, tmp_path, monkeypatch
):
    (tmp_path / "site").mkdir()
    served = tmp_path / "site" / "m.tar.gz"
    with tarfile.open(str(served), "w:gz") as tar:
        link = tarfile.TarInfo("m/model.ckpt.index")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with Server(tmp_path / "site") as server:
        request = prepare.Request("m", categories="bear", archive=server.url + "/m.tar.gz")
        with pytest.raises(TodusError, match="is a link"):
            prepare.prepare(paths.model("m"), request)
        shutil.copy(str(packed), str(served))
        prepare.prepare(paths.model("m"), request)
    assert paths.model("m").pipeline.exists()


def test_the_archive_is_not_unpacked_again_for_other_classes(home, packed, monkeypatch):
    make(packed)
    monkeypatch.setattr(zoo, "unpack_archive", lambda *_: pytest.fail("unpacked again"))
    make(packed, categories="cat")


def test_a_slice_gets_a_hundredth_of_the_zoo_s_learning_rate_unless_one_is_given(home, packed):
    def rate(made):
        return pipeline.optimizer(made.config).learning_rate.constant_learning_rate.learning_rate

    made = make(packed)
    assert rate(made) == pytest.approx(0.001 * prepare.FINE_TUNING)
    assert any("--learning-rate" in note for note in made.notes)
    made = make(packed, options=Options(learning_rate=0.02))
    assert rate(made) == pytest.approx(0.02)


@pytest.fixture
def helmets(home):
    """A dataset of cats and helmets, of which the zoo model knows the cats."""
    names, id_map = {1: "cat", 2: "helmet"}, {17: 1, 10: 2}
    splits = {"train": annotated(home / "i"), "val": annotated(home / "i", 5, 100)}
    write_dataset(paths.mscoco_dataset("h"), Content("coco", splits, names, id_map))
    return paths.mscoco_dataset("h")


def test_trained_weights_beside_new_classes_get_a_sixth_of_the_zoo_s_learning_rate(packed, helmets):
    made = make(packed, dataset=helmets)
    train = made.config.train_config
    cosine = pipeline.optimizer(made.config).learning_rate.cosine_decay_learning_rate
    zoo_rate = 0.001 * train.batch_size / made.zoo_config.train_config.batch_size
    assert cosine.learning_rate_base == pytest.approx(zoo_rate * prepare.BESIDE_NEW)
    assert cosine.total_steps == train.num_steps
    assert made.config.model.ssd.freeze_batchnorm and not train.freeze_variables
    given = make(packed, dataset=helmets, options=Options(learning_rate=0.01)).config
    rate = pipeline.optimizer(given).learning_rate.constant_learning_rate.learning_rate
    assert rate == pytest.approx(0.01) and given.model.ssd.freeze_batchnorm


def test_of_classes_that_are_all_new_only_the_predictor_is_trained(packed, home, tmp_path):
    zoo_names = tmp_path / "zoo.pbtxt"
    categories.write_label_map(zoo_names, {identity: "x%d" % identity for identity in range(1, 91)})
    made = make(packed, dataset=build(home), label_map=str(zoo_names))
    assert list(made.config.train_config.freeze_variables) == [".*FeatureExtractor/"]
    assert made.config.model.ssd.freeze_batchnorm
    assert any("--freeze none trains all" in note for note in made.notes)
    options = Options(freeze="none")
    made = make(packed, dataset=build(home), label_map=str(zoo_names), options=options)
    assert not made.config.train_config.freeze_variables


def test_a_copied_model_uses_its_own_files_and_keeps_paths_that_the_user_set(
    home, packed, tmp_path
):
    make(packed)
    copy = tmp_path / "copy" / "model" / "m"
    shutil.copytree(str(paths.model("m").folder), str(copy))
    model = paths.Model(copy)
    start = prepared.resolved(model).train_config.fine_tune_checkpoint
    assert start == str(model.limited_checkpoint)
    config = pipeline.read(model.pipeline)
    config.train_config.fine_tune_checkpoint = "/my/own/model.ckpt"
    pipeline.write(model.pipeline, config)
    assert prepared.resolved(model).train_config.fine_tune_checkpoint == "/my/own/model.ckpt"


MINER = (
    "hard_example_miner { num_hard_examples: 3000 iou_threshold: 0.99 loss_type: CLASSIFICATION "
    "max_negatives_per_positive: 3 min_negatives_per_image: %d }"
)
MINED = TEXT.replace("\n  loss { ", "\n  loss { " + MINER % 0 + " ")


def classification_loss_of_an_empty_image(config):
    """The OD API's loss of a batch of one image without a box."""
    from todus.tf import tf

    import numpy as np
    from object_detection.builders import model_builder

    height, width = pipeline.input_size(config)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        model = model_builder.build(config.model, is_training=True)
        image = np.random.RandomState(0).uniform(-1, 1, (1, height, width, 3))
        predicted = model.predict(tf.constant(image, tf.float32), tf.constant([[height, width, 3]]))
        classes = tf.zeros([0, config.model.ssd.num_classes])
        model.provide_groundtruth([tf.zeros([0, 4])], [classes])
        losses = model.loss(predicted, tf.constant([[height, width, 3]]))
        session.run(tf.global_variables_initializer())
        return session.run(losses["Loss/classification_loss"])


def test_images_without_boxes_have_a_loss_once_the_model_is_prepared_for_them(
    home, tmp_path, capsys
):
    packed, dataset = archive(MINED, tmp_path / "mined.tar.gz"), build(home)
    line = "-m m --archive %s -d %s" % (packed, dataset.name)
    assert command.run("model", command_line.main, line.split()) == 0
    change = "model.ssd.loss.hard_example_miner.min_negatives_per_image: 0 -> 20"
    assert change in capsys.readouterr().out
    config = pipeline.read(paths.model("m").pipeline)
    assert classification_loss_of_an_empty_image(config) > 0
    config.model.ssd.loss.hard_example_miner.min_negatives_per_image = 0
    assert classification_loss_of_an_empty_image(config) == 0


def test_the_miner_keeps_its_own_minimum_and_that_of_a_dataset_whose_images_all_have_boxes(
    home, tmp_path
):
    own = archive(MINED.replace(MINER % 0, MINER % 3), tmp_path / "own.tar.gz")
    packed, every = archive(MINED, tmp_path / "mined.tar.gz"), annotated(home / "images")
    every.images[:] = [image for image in every.images if image.boxes]
    boxes = build(home, "boxes", splits={"train": every, "val": every})
    for archived, dataset, number in ((own, build(home), 3), (packed, boxes, 0)):
        made = make(archived, categories=None, dataset=dataset)
        assert made.config.model.ssd.loss.hard_example_miner.min_negatives_per_image == number
