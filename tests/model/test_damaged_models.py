"""Damaged configs, archives and checkpoints are refused in one line; a prepared model stays."""

import io
import os
import random
import tarfile

import pytest

from tests.helpers.damage import damaged_text, hostile
from tests.helpers.families import SSD_FAMILIES, archive
from tests.helpers.own_images import tree
from todus import command, paths
from todus.commands import model as command_line
from todus.errors import TodusError
from todus.model import pipeline

TEXT = SSD_FAMILIES["mobilenet_v1"]
CONFIGS = 100
ARCHIVES = 60 if os.environ.get("TODUS_SLOW") else 12
CHECKPOINTS = 40 if os.environ.get("TODUS_SLOW") else 6


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return archive(TEXT, tmp_path_factory.mktemp("zoo") / "m.tar.gz")


@pytest.mark.parametrize("seed", range(CONFIGS))
def test_a_damaged_config_is_read_or_refused_with_its_name(seed):
    try:
        config = pipeline.parse(damaged_text(TEXT, seed), "pipeline.config")
    except TodusError as error:
        assert "pipeline.config" in str(error)
    else:
        assert pipeline.parse(pipeline.to_text(config), "again") == config


def prepare_from(path, categories):
    arguments = ["-m", "m", "--archive", str(path), "--categories", categories]
    return command.run("model", command_line.main, arguments)


def is_refused(capsys, path, folder):
    """Prepares from `path`; a refusal must be one line and change nothing.

    Without a refusal the damage is where nothing is read.
    """
    before = tree(folder.parent)
    code = prepare_from(path, "cat")
    error = capsys.readouterr().err
    if code == 0:
        return False
    assert code in (1, 2) and error.startswith("model: ") and error.count("\n") == 1, error
    assert ".pretrained.new" not in error  # that folder is gone
    after = tree(folder.parent)
    assert {name: after[name] for name in after if ".pretrained.download" not in name} == before
    return True


@pytest.fixture
def prepared_model(home, packed, capsys):
    assert prepare_from(packed, "bear") == 0
    capsys.readouterr()
    return paths.model("m").folder


def test_hostile_archives_are_refused_in_one_line_and_change_nothing(
    prepared_model, packed, tmp_path, capsys
):
    data, path, refused = packed.read_bytes(), tmp_path / "in" / "bad.tar.gz", 0
    path.parent.mkdir()
    for seed in range(ARCHIVES):
        hostile(seed, data, path)
        refused += is_refused(capsys, path, prepared_model)
        assert not any(found.name == "evil" for found in tmp_path.rglob("*"))
    assert refused


def damaged(data, chance, truncate):
    if truncate:
        return data[: chance.randrange(len(data))]
    data = bytearray(data)
    for _ in range(8):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def test_damaged_checkpoints_are_refused_in_one_line_and_change_nothing(
    prepared_model, packed, tmp_path, capsys
):
    source, path, refused = packed.parent / (packed.name + ".d") / "model", tmp_path / "bad.tar", 0
    for seed in range(CHECKPOINTS):
        chance = random.Random(seed)
        with tarfile.open(str(path), "w:gz") as tar:
            for file in sorted(source.iterdir()):
                data, is_index = file.read_bytes(), file.name.endswith(".index")
                if file.name.startswith("model.ckpt") and (seed % 2 == 0) == is_index:
                    data = damaged(data, chance, truncate=seed % 3 == 0)
                member = tarfile.TarInfo("model/" + file.name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        refused += is_refused(capsys, path, prepared_model)
    assert refused
