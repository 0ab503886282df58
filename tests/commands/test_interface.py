"""What the commands at the top promise in words: their help, and the environment variables that they name and read."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

from tests.helpers.places import REPO
from todus import variables

SCRIPTS = sorted(
    path
    for folder in (".", "lib", "demo", "docs")
    for path in (REPO / folder).glob("*.sh")
    if path.name != "common.sh"
)
COMMANDS = sorted(path.stem for path in REPO.glob("*.py"))
MODULES = {
    name: REPO / "todus" / "commands" / ("evaluate.py" if name == "eval" else name + ".py")
    for name in COMMANDS
}
SOURCES = sorted((REPO / "todus").rglob("*.py")) + sorted(REPO.glob("*.py"))

# Of every command: read by lib/common.sh, by programs that Todus calls, or by TensorFlow.
ANYWHERE = {"CUDA_VISIBLE_DEVICES", "PYTHON", "PYTHON37", "TODUS_HOME", "TODUS_DEBUG"}

# What a script is called in todus.variables, where that is not the name of its file.
CALLED = {"demo/run.sh": "demo"}


def header(script: Path) -> str:
    """The comment at the top of a script, without its #."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    until = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(re.sub("^# ?", "", line) + "\n" for line in lines[:until])


def named_in(text: str) -> Set[str]:
    """The variables of a header's list: words in capitals at the beginning of an indented line."""
    found = set()
    for line in re.findall(
        r"(?m)^  +([A-Z][A-Z0-9_]+(?:,? [A-Z][A-Z0-9_]+)*)(?=  |$| [a-z])", text
    ):
        found.update(re.findall(r"[A-Z0-9_]+", line))
    return found


def name_of(script: Path) -> str:
    return CALLED.get(str(script.relative_to(REPO)), script.stem)


def defaults_in(text: str) -> Dict[str, str]:
    """Variable -> what "(default: X)" of its entry in a header says."""
    found = {}
    for entry in re.split(r"(?m)^  +(?=[A-Z][A-Z0-9_]{2,} )", text)[1:]:
        name, _, rest = entry.partition(" ")
        match = re.search(r"\(default: ((?:[^()]|\([^()]*\))*)\)", re.sub(r"\s+", " ", rest))
        if match:
            found[name] = match.group(1)
    return found


@pytest.mark.parametrize(
    "script",
    [each for each in SCRIPTS if each.parent.name != "docs"],
    ids=lambda path: str(path.relative_to(REPO)),
)
def test_help_of_a_script_is_its_header(script):
    said = subprocess.run(["bash", str(script), "--help"], capture_output=True, check=True)
    assert said.stdout.decode() == header(script)
    assert said.stderr == b""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_begins_with_usage_and_holds_its_docstring(command):
    said = subprocess.run(
        [sys.executable, "-m", command, "--help"], cwd=str(REPO), capture_output=True, check=True
    )
    assert said.stdout.decode().startswith("usage: %s " % command)
    assert (
        ast.get_docstring(
            ast.parse(MODULES[command].read_text(encoding="utf-8")), clean=False
        ).strip()
        in said.stdout.decode()
    )
    assert said.stderr == b""


@pytest.mark.parametrize(
    "script",
    [each for each in SCRIPTS if each.parent.name != "docs"],
    ids=lambda path: str(path.relative_to(REPO)),
)
def test_a_header_names_the_variables_of_its_command_with_their_defaults(script):
    rows = variables.of_command(name_of(script))
    text = header(script)
    obeyed = {row.name for row in rows} - ANYWHERE
    arguments = set(re.findall(r"[A-Z_]+", text.split("\n\n")[0]))  # of the usage line
    assert named_in(text) - ANYWHERE - arguments <= obeyed and obeyed <= set(
        re.findall(r"[A-Z][A-Z0-9_]+", text)
    )
    for row in rows:
        said = defaults_in(text).get(row.name)
        if "://" in row.default and "the public server" in text:
            continue
        assert (
            not row.default
            or (said and said.startswith(row.default))
            or row.default in text
            or "patience, as in" in text
        ), (
            row.name,
            row.default,
            said,
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_names_its_own_variables(command):
    """Not those of every download, which the scripts' headers have."""
    shared = ANYWHERE | {"TIMEOUT", "RETRIES", "RETRY_WAIT", "MODEL_DIR", "CHECKPOINT_PREFIX"}
    text = ast.get_docstring(ast.parse(MODULES[command].read_text(encoding="utf-8")))
    assert {row.name for row in variables.of_command(command)} - shared <= set(
        re.findall(r"[A-Z][A-Z0-9_]+", text)
    )


def test_only_the_table_of_variables_reads_the_environment():
    """Apart from what one process of Todus tells another, and what other programs own."""
    own = {
        "TODUS_HOME",
        "TODUS_DEBUG",
        "TODUS_COMMAND",
        "TODUS_TRAIN_LOG",
        "TODUS_LIVES_AS_STDIN",
        "MODEL_DIR",
        "MODEL",
        "NAME",
    }
    own |= {
        "PATH",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "TF_CONFIG",
        "CUDA_VISIBLE_DEVICES",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
    }
    own |= {"TF_CPP_MIN_LOG_LEVEL", "PYTHONHASHSEED"}
    for source in sorted((REPO / "todus").rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        read = set(re.findall(r"""os\.environ(?:\.\w+\(|\[)["']([A-Z0-9_]+)""", text))
        assert read <= own, (source, read - own)


def typed(page: Path) -> Iterator[str]:
    """The commands in a page's code spans and blocks, each from its first variable or program on."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"(?m)^(?:    )?([^|`\n]+)$", "".join(re.findall(r"(?s)```bash\n(.*?)```", text))
    )
    for span in spans:
        if re.match(r"([A-Z][A-Z0-9_]*=\S* )*(\./[\w-]+\.sh|make( |$)|python -m )", span):
            yield re.sub(r"\s+#.*", "", span)


PAGES = [REPO / "README.md"] + sorted((REPO / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def helps():
    """What each command at the top and each script says with --help, by the words that a page calls it by."""
    found = {"./" + script.name: header(script) for script in SCRIPTS if script.parent == REPO}
    for command in COMMANDS:
        said = subprocess.run(
            [sys.executable, "-m", command, "--help"],
            cwd=str(REPO),
            stdout=subprocess.PIPE,
            check=True,
        )
        found["python -m " + command] = said.stdout.decode()
    found["./eval.sh"] += found["python -m eval"]  # whose options it takes
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_tells_to_type_exists(page, helps):
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for line in typed(page):
        variables, program, rest = re.match(
            r"((?:[A-Z][A-Z0-9_]*=\S* )*)(\./[\w-]+\.sh|make|python -m [\w.]+)(.*)", line
        ).groups()
        if program == "make":
            assert all(
                "\n%s:" % word in makefile
                for word in rest.split()[:1]
                if "=" not in word and word[0].islower()
            ), line
        elif program.startswith("python -m todus."):
            name = program.split()[-1].replace(".", "/")
            assert (REPO / (name + ".py")).exists() or (REPO / name / "__main__.py").exists(), line
        elif program == "./start.sh":
            assert (REPO / "docs" / "start.sh").exists()
        else:
            assert program in helps, line
            for option in re.findall(r"(?<= )--?[a-z][\w-]*", rest):
                assert option == "--help" or re.search(
                    r"(?<![\w-])%s(?![\w-])" % option, helps[program]
                ), (line, option)
            for variable in re.findall(r"([A-Z][A-Z0-9_]*)=", variables):
                assert variable in helps[program] or variable in ANYWHERE, line
