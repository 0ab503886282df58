"""Damaged configs, archives and checkpoints: one clear line each, no traceback, and what was prepared before stays as it was."""

import io
import os
import random
import tarfile

import pytest

from tests.helpers.damage import damaged_text, hostile
from tests.helpers.families import SSD_FAMILIES, archive
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


def state(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(capsys, path, folder) -> None:
    """Preparing from `path` fails with one line and changes nothing."""
    before = state(folder.parent)
    code = command.run(
        "model", command_line.main, ["-m", "m", "--archive", str(path), "--categories", "cat"]
    )
    said = capsys.readouterr().err
    if code == 0:  # a flipped bit may hit what nothing reads
        return
    assert code in (1, 2) and said.startswith("model: ") and said.count("\n") == 1, said
    after = {
        name: data
        for name, data in state(folder.parent).items()
        if ".pretrained.download" not in name
    }
    assert after == before


@pytest.fixture
def prepared_model(home, packed, capsys):
    assert (
        command.run(
            "model",
            command_line.main,
            ["-m", "m", "--archive", str(packed), "--categories", "bear"],
        )
        == 0
    )
    capsys.readouterr()
    return paths.model("m").folder


def test_hostile_archives_are_refused_in_one_line_and_change_nothing(
    prepared_model, packed, tmp_path, capsys
):
    data = packed.read_bytes()
    (tmp_path / "in").mkdir()
    for seed in range(ARCHIVES):
        path = tmp_path / "in" / "bad.tar.gz"
        hostile(seed, data, path)
        refused(capsys, path, prepared_model)
        assert not any(found.name == "evil" for found in tmp_path.rglob("*"))


def test_damaged_checkpoints_are_refused_in_one_line_and_change_nothing(
    prepared_model, packed, tmp_path, capsys
):
    source = packed.parent / (packed.name + ".d") / "model"
    for seed in range(CHECKPOINTS):
        chance = random.Random(seed)
        path = tmp_path / "bad.tar.gz"
        with tarfile.open(str(path), "w:gz") as tar:
            for file in sorted(source.iterdir()):
                data = bytearray(file.read_bytes())
                if file.name.startswith("model.ckpt") and (seed % 2 == 0) == file.name.endswith(
                    ".index"
                ):
                    if seed % 3 == 0:
                        data = data[: chance.randrange(len(data))]
                    else:
                        for _ in range(8):
                            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                member = tarfile.TarInfo("model/" + file.name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(bytes(data)))
        refused(capsys, path, prepared_model)
