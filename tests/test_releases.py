"""What brings Todus to other machines: changelog, wheel, container, CI and the notebook."""

import ast
import json
import os
import re
import shlex
import subprocess

import pytest

from tests.helpers.places import REPO
from todus import __version__, variables
from todus.commands import detect
from todus.commands import model as model_command

NOTEBOOK = REPO / "docs" / "colab.ipynb"
CHECK = [str(REPO / "lib" / "release.sh"), "--check"]


def cells():
    """The lines of each cell of the notebook."""
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert found["nbformat"] == 4
    return ["".join(cell["source"]).splitlines() for cell in found["cells"]]


def typed():
    """The commands of Todus that the notebook types."""
    lines = [line[1:] for cell in cells() for line in cell if line.startswith("!")]
    return [line for line in lines if re.search(r"(^| )(make|\./[\w-]+\.sh|\S*python -m) ?", line)]


def test_the_notebook_has_five_cells_without_outputs_and_its_python_is_valid():
    assert len(cells()) == 5
    for number, cell in enumerate(cells(), start=1):
        assert cell[0].startswith("# %d. " % number)
        ast.parse("\n".join("" if line[0] in "!%" else line for line in cell))
    assert '"output_type"' not in NOTEBOOK.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", typed())
def test_a_command_of_the_notebook_can_be_typed(line, tmp_path):
    """The scripts are run with a program in place of Python that accepts everything."""
    words = shlex.split(line)
    parsers = {"detect": detect.parser, "model": model_command.parser}
    if words[1:2] == ["-m"]:
        assert words[0] == ".venv/bin/python"
        parsers[words[2]]().parse_args(words[3:])
        return
    if words[0] == "make":
        makefile = (REPO / "Makefile").read_text(encoding="utf-8")
        assert "\n%s:" % words[1] in makefile
        if words[1] == "install":
            return
        environment = dict(word.split("=", 1) for word in words[2:])
        words = [str(REPO / "lib" / (words[1] + ".sh"))]
    else:
        environment = dict(word.split("=", 1) for word in words if "=" in word)
        words = [str(REPO / word) if word[0] == "." else word for word in words if "=" not in word]
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\n[ "$1 $2" != "-ES -c" ] || exec echo Python\necho "$@"\n')
    stub.chmod(0o755)
    name = environment.get("MODEL", environment.get("MODEL_DIR", "m")).split("/")[-1]
    prepared = tmp_path / "model" / name
    (prepared / "pretrained").mkdir(parents=True)
    (prepared / "pretrained" / "pipeline.config").touch()
    (prepared / (name + ".tflite")).touch()
    if "MODEL_DIR" in environment:
        environment["MODEL_DIR"] = str(tmp_path / environment["MODEL_DIR"])
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment.update(kept, PYTHON=str(stub), TODUS_HOME=str(tmp_path))
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "lib/start.py -m " in done.stdout, done.stderr


def test_the_changelog_begins_with_the_version_of_todus():
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"(?m)^## (\S+)", text).group(1) == __version__


def test_the_variables_that_the_changelog_names_exist():
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([A-Z][A-Z_]{3,})`", text))
    assert names <= {row.name for row in variables.TABLE} | {row.old for row in variables.TABLE}


def test_a_wheel_that_is_not_there_is_wrong_usage_of_one_line():
    done = subprocess.run(CHECK + ["none.whl"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--check needs the path of a wheel; make one: make release" in done.stderr


def test_the_container_and_the_workflow_run_what_exists():
    text = (REPO / "Dockerfile").read_text(encoding="utf-8")
    assert text.split("FROM ")[1].startswith("debian:12\n")
    text += (REPO / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:RUN|&&|run:|todus) make (\w+)", text))
    assert targets == {"install", "slice", "release", "doctor"}
    assert all("\n%s:" % target in makefile for target in targets)
    for script in re.findall(r"(?m)run: ((?:\.ci|lib)/\S+)", text):
        assert os.access(str(REPO / script), os.X_OK), script


def test_the_workflow_tries_every_python_that_slice_promises():
    text = (REPO / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    tried = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.*)\]", text).group(1))
    promised = re.search(
        r"Python (3\.\d+) to 3\.(\d+)", (REPO / "docs" / "slice.md").read_text(encoding="utf-8")
    )
    assert tried == ["3.%d" % each for each in range(7, int(promised.group(2)) + 1)]
    assert promised.group(1) == "3.7"
