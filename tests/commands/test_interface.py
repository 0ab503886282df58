"""The help of scripts and commands, the variables in it, and the commands in the docs."""

import ast
import functools
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
MODULES["slice"] = REPO / "todus" / "slicing" / "command.py"
WITH_HEADER = [path for path in SCRIPTS if path.parent.name != "docs"]

# Variables that lib/common.sh, called programs or TensorFlow read.
ANYWHERE = {"CUDA_VISIBLE_DEVICES", "PYTHON", "PYTHON37", "TODUS_HOME", "TODUS_DEBUG"}
# Variables of every download.
DOWNLOADS = {"TIMEOUT", "RETRIES", "RETRY_WAIT"}


def header(script: Path) -> str:
    """The comment at the top of a script, without its #."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    until = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(re.sub("^# ?", "", line) + "\n" for line in lines[:until])


def named_in(text: str) -> Set[str]:
    """The variables of a header's list: words in capitals at the start of an indented line."""
    lists = re.findall(r"(?m)^  +([A-Z][A-Z0-9_]+(?:,? [A-Z][A-Z0-9_]+)*)(?=  |$| [a-z])", text)
    return set(re.findall(r"[A-Z0-9_]+", " ".join(lists)))


def defaults_in(text: str) -> Dict[str, str]:
    """Variable -> X of "(default: X)" in its entry of a header."""
    found = {}
    for entry in re.split(r"(?m)^  +(?=[A-Z][A-Z0-9_]{2,} )", text)[1:]:
        name, _, rest = entry.partition(" ")
        match = re.search(r"\(default: ((?:[^()]|\([^()]*\))*)\)", re.sub(r"\s+", " ", rest))
        if match:
            found[name] = match.group(1)
    return found


def id_of(path: Path) -> str:
    return str(path.relative_to(REPO))


def docstring_of(command: str) -> str:
    tree = ast.parse(MODULES[command].read_text(encoding="utf-8"))
    return ast.get_docstring(tree, clean=False).strip()


def output_of(*arguments: str) -> str:
    """The stdout of a command that succeeds and prints nothing to stderr."""
    done = subprocess.run(arguments, cwd=str(REPO), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.fixture(scope="module")
def command_help():
    """command_help(NAME) is the output of python -m NAME --help."""
    return functools.lru_cache()(lambda name: output_of(sys.executable, "-m", name, "--help"))


@pytest.mark.parametrize("script", WITH_HEADER, ids=id_of)
def test_help_of_a_script_is_its_header(script):
    assert output_of("bash", str(script), "--help") == header(script)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_begins_with_usage_and_has_its_docstring(command, command_help):
    assert command_help(command).startswith("usage: %s " % command)
    assert docstring_of(command) in command_help(command)


@pytest.mark.parametrize("script", WITH_HEADER, ids=id_of)
def test_a_header_names_the_variables_of_its_command_with_their_defaults(script):
    rows = variables.of_command("demo" if script.parent.name == "demo" else script.stem)
    text = header(script)
    obeyed = {row.name for row in rows} - ANYWHERE
    arguments = set(re.findall(r"[A-Z_]+", text.split("\n\n")[0]))  # of the usage line
    assert named_in(text) - ANYWHERE - arguments <= obeyed
    assert obeyed <= set(re.findall(r"[A-Z][A-Z0-9_]+", text))
    if "patience, as in" in text:  # of the variables that another header describes
        rows = [row for row in rows if row.name not in DOWNLOADS]
    for row in rows:
        if "://" in row.default and "the public server" in text:
            continue
        described = defaults_in(text).get(row.name, "")
        assert described.startswith(row.default) or row.default in text, (row, described)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_names_its_own_variables(command):
    shared = ANYWHERE | DOWNLOADS | {"MODEL_DIR", "CHECKPOINT_PREFIX"}
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", docstring_of(command)))
    assert {row.name for row in variables.of_command(command)} - shared <= named


def test_only_the_table_of_variables_reads_the_environment():
    """Except for variables between processes of Todus, and those of other programs."""
    allowed = {
        "TODUS_HOME",
        "TODUS_DEBUG",
        "TODUS_COMMAND",
        "TODUS_TRAIN_LOG",
        "MODEL_DIR",
        "MODEL",
    }
    allowed |= {"TODUS_LIVES_AS_STDIN", "NAME", "PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "TF_CONFIG"}
    allowed |= {"CUDA_VISIBLE_DEVICES", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"}
    allowed |= {"TF_CPP_MIN_LOG_LEVEL", "PYTHONHASHSEED"}
    found = set()
    for source in sorted((REPO / "todus").rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        read = set(re.findall(r"""os\.environ(?:\.\w+\(|\[)["']([A-Z0-9_]+)""", text))
        assert read <= allowed, (source, read - allowed)
        found |= read
    assert "TODUS_HOME" in found


def typed(page: Path) -> Iterator[str]:
    """The commands in a page's code spans and blocks, from their first variable or program on."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"(?s)```bash\n(.*?)```", text))
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"(?m)^(?:    )?([^|`\n]+)$", blocks)
    for span in spans:
        if re.match(r"([A-Z][A-Z0-9_]*=\S* )*(\./[\w-]+\.sh|make( |$)|python -m )", span):
            yield re.sub(r"\s+#.*", "", span)


PAGES = [REPO / "README.md"] + sorted((REPO / "docs").glob("*.md"))
PARTS = r"((?:[A-Z][A-Z0-9_]*=\S* )*)(\./[\w-]+\.sh|make|python -m [\w.]+)(.*)"


@pytest.fixture(scope="module")
def helps(command_help):
    """The help of each command and script, by the words that a page uses for it."""
    found = {"./" + script.name: header(script) for script in SCRIPTS if script.parent == REPO}
    found.update(("python -m " + name, command_help(name)) for name in COMMANDS)
    found["./eval.sh"] += found["python -m eval"]  # eval.sh takes its options
    return found


def test_the_readme_has_commands():
    assert list(typed(PAGES[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_commands_options_and_variables_in_a_page_exist(page, helps):
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for line in typed(page):
        variables, program, rest = re.match(PARTS, line).groups()
        if program == "make":
            targets = [word for word in rest.split()[:1] if "=" not in word and word[0].islower()]
            assert all("\n%s:" % target in makefile for target in targets), line
        elif program.startswith("python -m todus."):
            path = REPO / program.split()[-1].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), line
        elif program == "./start.sh":
            assert (REPO / "docs" / "start.sh").exists()
        else:
            assert program in helps, line
            for option in set(re.findall(r"(?<= )--?[a-z][\w-]*", rest)) - {"--help"}:
                assert re.search(r"(?<![\w-])%s(?![\w-])" % option, helps[program]), (line, option)
            for variable in re.findall(r"([A-Z][A-Z0-9_]*)=", variables):
                assert variable in helps[program] or variable in ANYWHERE, line
