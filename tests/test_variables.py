"""The table of variables: valid and invalid values, and misspelled names."""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.places import REPO
from todus import variables
from todus.errors import UsageError

ROWS = [(row, command) for row in variables.TABLE for command in row.commands]
COMMANDS = sorted({command for row in variables.TABLE for command in row.commands})

# Set by shells, desktops, batch systems and CI.
OTHER_PROGRAMS = """
HOME USER LOGNAME SHELL PATH PWD OLDPWD LANG LANGUAGE LC_ALL TERM TERM_PROGRAM DISPLAY EDITOR PAGER
MAIL HOSTNAME HOSTTYPE USERNAME SSH_CLIENT SSH_CONNECTION SSH_AUTH_SOCK XDG_DATA_DIRS XDG_DATA_HOME
XDG_RUNTIME_DIR XDG_SESSION_ID DBUS_SESSION_BUS_ADDRESS SHLVL COLUMNS LINES MODE JOB JOB_NAME JOB_ID
BUILD_ID BUILD_NUMBER CI GITHUB_ACTIONS GITHUB_REF GITHUB_JOB RUNNER_OS TMPDIR TMUX VIRTUAL_ENV
CONDA_PREFIX CONDA_DEFAULT_ENV PYTHONPATH PYTHONUNBUFFERED LD_LIBRARY_PATH CUDA_HOME
CUDA_VISIBLE_DEVICES OMP_NUM_THREADS MKL_NUM_THREADS SLURM_JOB_ID SLURM_NTASKS PBS_JOBID HTTP_PROXY
HTTPS_PROXY NO_PROXY MAKEFLAGS MAKELEVEL MFLAGS DATA INCLUDE LIB LIBPATH VERSION DEBUG VERBOSE
PROJECT NAMESPACE DATABASE_URL BASE_URL TZ PS1 PS4 BASHOPTS SHELLOPTS EUID UID PPID
"""


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.name + "-" + row.commands[0])
def test_a_default_is_a_valid_value(row):
    expected = row.kind.read(row.default) if row.default else None
    assert variables.value(row.name, row.commands[0], {}) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_one_row_per_variable(command):
    names = [row.name for row in variables.of_command(command)]
    assert names and len(names) == len(set(names))


@pytest.mark.parametrize(
    "name, command, text, value",
    [
        ("BATCH_SIZE", "train", "8", 8),
        ("LEARNING_RATE", "train", "1e-3", 0.001),
        ("EVAL_TRAIN", "train", "1", True),
        ("TARGET_AP", "train", "pretrained", "pretrained"),
        ("TARGET_AP", "train", "0.5", 0.5),
        ("MAX_DROPPED", "dataset-voc", "2.5 %", 0.025),
        ("SPLITS", "dataset-openimages", "val, train", ["train", "validation"]),
        ("NEGATIVES", "dataset-limited", "train=5 val=all", [("train", 5), ("val", "all")]),
        ("RENAME", "dataset-voc", "no plate=plate, A=car", [("no plate", "plate"), ("A", "car")]),
        ("INPUT_SHAPE", "export", "480x640", "480x640"),
        ("THRESHOLD", "dataset-label", "0.4", 0.4),
        ("THRESHOLD", "dataset-label", "a dog=0.4, cat=1", [("a dog", 0.4), ("cat", 1.0)]),
        ("NUM_TRAIN_STEPS", "train", " ", None),
        ("SAVE_STEPS", "train", "", 500),
    ],
)
def test_a_value_is_converted_by_its_kind(name, command, text, value):
    assert variables.value(name, command, {name: text}) == value


@pytest.mark.parametrize(
    "name, command, text, words",
    [
        ("BATCH_SIZE", "train", "0", "BATCH_SIZE=0: give a whole number from 1 to 65536"),
        ("BATCH_SIZE", "train", "1.5", "a whole number"),
        ("BATCH_SIZE", "train", "\u0661", "a whole number"),
        ("LEARNING_RATE", "train", "1e39", "=1e39: give a number above 0, up to 1000000"),
        ("LEARNING_RATE", "train", "nan", "above 0"),
        ("TARGET_AP", "train", "2", "give pretrained, or a number above 0, up to 1"),
        ("VAL", "dataset-voc", "1", "VAL=1: give a number between 0 and 1, such as 0.2"),
        ("MAX_DROPPED", "dataset-voc", "101%", "a percentage from 0 to 100, such as 5%"),
        ("KEEP_EMPTY", "dataset-voc", "yes", "KEEP_EMPTY=yes: give 0 or 1"),
        ("PORT", "tensorboard", "99999", "from 1 to 65535"),
        ("RENAME", "dataset-voc", "a=", "old=new"),
        ("THRESHOLD", "dataset-label", "cat=2", "give a number from 0 to 1, or CLASS=NUMBER pairs"),
        ("LABEL_MAP", "dataset-voc", "/no/such", "the path of a file"),
        ("FORMAT", "convert-tflite", "int4", "uint8 or float or"),
    ],
)
def test_the_message_for_an_invalid_value_gives_the_range(name, command, text, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        variables.value(name, command, {name: text})
    with pytest.raises(UsageError, match=re.escape(words)):
        variables.check(command, {name: text})


@given(st.sampled_from(ROWS), st.text(max_size=60))
def test_any_text_is_valid_or_the_message_is_a_line_that_names_the_variable(pair, text):
    row, command = pair
    try:
        variables.value(row.name, command, {row.name: text})
    except UsageError as error:
        assert str(error).startswith(row.name) and "\n" not in str(error)


@pytest.mark.parametrize(
    "name, command, meant",
    [
        ("BATCHSIZE", "train", "BATCH_SIZE"),
        ("batch_size", "train", "BATCH_SIZE"),
        ("BATCH_SIZES", "train", "BATCH_SIZE"),
        ("NUM_STEPS", "train", "NUM_TRAIN_STEPS"),
        ("STEPS", "train", "NUM_TRAIN_STEPS"),
        ("LR", "train", "LEARNING_RATE"),
        ("LEARING_RATE", "train", "LEARNING_RATE"),
        ("CATEGORY", "dataset-limited", "CATEGORIES"),
        ("CLASSES", "dataset-voc", "CATEGORIES"),
        ("CATAGORIES", "limited", "CATEGORIES"),
        ("CHECKPOINT_PREFX", "export", "CHECKPOINT_PREFIX"),
        ("SPLIT", "dataset-complete", "SPLITS"),
        ("MODELDIR", "export", "MODEL_DIR"),
    ],
)
def test_a_misspelled_variable_is_an_error(name, command, meant):
    with pytest.raises(UsageError, match="%s is not a variable; did you mean %s" % (name, meant)):
        variables.check(command, {name: "4"})


@pytest.mark.parametrize("command", COMMANDS)
def test_variables_of_other_programs_are_ignored(command):
    assert variables.check(command, dict.fromkeys(OTHER_PROGRAMS.split(), "x")) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_variables_of_other_commands_are_ignored(command):
    own = variables.of_command(command)
    others = {row.name for row in variables.TABLE} - {row.name for row in own}
    others -= {row.old for row in own}
    assert variables.check(command, dict.fromkeys(others, "1")) == []


@pytest.mark.parametrize(
    "command, old, name, value",
    [
        ("convert-onnx", "graph", "LAYOUT", "todus"),
        ("convert-onnx", "tensorrt", "LAYOUT", "tensorrt"),
        ("export-tflite", "fast", "TFLITE_NMS", "fast"),
    ],
)
def test_an_old_name_is_read_and_reported(command, old, name, value):
    assert variables.value(name, command, {"NMS": old}) == value
    lines = ["NMS is now called %s; use %s=%s" % (name, name, value)]
    assert variables.check(command, {"NMS": old}) == lines
    assert variables.check(command, {"NMS": old, name: value}) == []


def test_the_check_needs_only_the_standard_library():
    command = [sys.executable, "-S", "-m", "todus.commands.variables", "train"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "BATCHSIZE": "4"}
    result = subprocess.run(command, env=environment, capture_output=True, cwd="/")
    assert result.returncode == 2
    message = b"train: BATCHSIZE is not a variable; did you mean BATCH_SIZE? Rename it, or unset"
    assert result.stderr == message + b" BATCHSIZE\n"


@given(st.text("ABC", max_size=6), st.text("ABC", max_size=6))
def test_the_distance_is_symmetric_zero_for_equal_words_and_bounded_by_the_lengths(one, other):
    distance = variables.distance(one, other)
    assert distance == variables.distance(other, one)
    assert (distance == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
