"""What the commands at the top promise in words: their help, and the environment variables that they name and read."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

from helpers.places import REPO

SCRIPTS = sorted(path for folder in (".", "lib", "demo", "docs") for path in (REPO / folder).glob("*.sh") if path.name != "common.sh")
COMMANDS = sorted(path.stem for path in REPO.glob("*.py"))
MODULES = {name: REPO / "todus" / "commands" / ("evaluate.py" if name == "eval" else name + ".py") for name in COMMANDS}
SOURCES = sorted((REPO / "todus").rglob("*.py")) + sorted(REPO.glob("*.py"))

# Functions whose first argument is the name of a variable that they read.
READERS = ("choice", "number", "whole", "one_of", "switch", "fraction", "percent", "existing_file", "per_split", "get")

# Read, and not a person's to set: the shell's and other programs' own, and what one process of Todus tells another.
OTHERS = {"PATH", "HOME", "USER", "PWD", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "PYTHONPATH", "BASH_SOURCE", "SECONDS"}
OTHERS |= {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "TF_CONFIG", "RSYNC_RSH"}  # the last is documented in sync.sh, and read by rsync
BETWEEN = {"TODUS_COMMAND", "TODUS_TRAIN_LOG", "TODUS_REPO"}
ANYWHERE = {"CUDA_VISIBLE_DEVICES", "PYTHON", "PYTHON37", "TODUS_HOME", "TODUS_DEBUG"}  # of every command


def header(script: Path) -> str:
    """The comment at the top of a script, without its #."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    until = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(re.sub("^# ?", "", line) + "\n" for line in lines[:until])


def named_in(text: str) -> Set[str]:
    """The variables of a header's list: words in capitals at the beginning of an indented line."""
    found = set()
    for line in re.findall(r"(?m)^  +([A-Z][A-Z0-9_]+(?:,? [A-Z][A-Z0-9_]+)*)(?=  |$| [a-z])", text):
        found.update(re.findall(r"[A-Z0-9_]+", line))
    return found


def constants(tree: ast.AST) -> Dict[str, str]:
    """A module's names for strings."""
    return {
        node.targets[0].id: node.value.s
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Str)
    }


def read_in_python(source: Path) -> Iterator[str]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names = constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            argument = node.args[0]
            if called == "get" and "environ" not in ast.dump(node.func):
                continue
        elif isinstance(node, ast.Subscript) and "environ" in ast.dump(node.value):
            called, argument = "get", getattr(node.slice, "value", node.slice)
        else:
            continue
        value = argument.s if isinstance(argument, ast.Str) else names.get(getattr(argument, "id", ""), "")
        if called in READERS and re.fullmatch(r"[A-Z][A-Z0-9_]+", value):
            yield value


def read_in_shell(script: Path) -> Set[str]:
    """The variables in capitals that a script expands and does not itself set."""
    code = re.sub(r"(?m)^\s*#.*$", "", script.read_text(encoding="utf-8"))
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", code))
    return read - set(re.findall(r"(?m)^\s*([A-Z][A-Z0-9_]+)=", code))


@pytest.mark.parametrize("script", [each for each in SCRIPTS if each.parent.name != "docs"], ids=lambda path: str(path.relative_to(REPO)))
def test_help_of_a_script_is_its_header(script):
    said = subprocess.run(["bash", str(script), "--help"], capture_output=True, check=True)
    assert said.stdout.decode() == header(script)
    assert said.stderr == b""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_begins_with_usage_and_holds_its_docstring(command):
    said = subprocess.run([sys.executable, "-m", command, "--help"], cwd=str(REPO), capture_output=True, check=True)
    assert said.stdout.decode().startswith("usage: %s " % command)
    assert ast.get_docstring(ast.parse(MODULES[command].read_text(encoding="utf-8")), clean=False).strip() in said.stdout.decode()
    assert said.stderr == b""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(REPO)))
def test_a_variable_in_a_header_is_read(script):
    shell = set().union(*(read_in_shell(each) for each in SCRIPTS + [REPO / "lib" / "common.sh"]))
    strings = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', "".join(path.read_text(encoding="utf-8") for path in SOURCES)))
    tests = (REPO / "tests" / "torture" / "run.py").read_text(encoding="utf-8") if script.name == "torture.sh" else ""
    strings |= set(re.findall(r'"([A-Z][A-Z0-9_]+)"', tests))
    assert named_in(header(script)) - shell - strings - OTHERS == set()


def test_a_variable_that_is_read_is_documented():
    documented = set(re.findall(r"[A-Z][A-Z0-9_]+", "".join(header(each) for each in SCRIPTS)))
    for command in COMMANDS:
        documented |= set(re.findall(r"[A-Z][A-Z0-9_]+", ast.get_docstring(ast.parse(MODULES[command].read_text(encoding="utf-8")))))
    read = {name: source.name for source in SOURCES for name in read_in_python(source)}
    for script in SCRIPTS + [REPO / "lib" / "common.sh"]:
        read.update((name, script.name) for name in read_in_shell(script))
    assert len(read) > 50
    assert {name: where for name, where in read.items() if name not in documented | OTHERS | BETWEEN | ANYWHERE} == {}


def typed(page: Path) -> Iterator[str]:
    """The commands in a page's code spans and blocks, each from its first variable or program on."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"(?m)^(?:    )?([^|`\n]+)$", "".join(re.findall(r"(?s)```bash\n(.*?)```", text)))
    for span in spans:
        if re.match(r"([A-Z][A-Z0-9_]*=\S* )*(\./[\w-]+\.sh|make( |$)|python -m )", span):
            yield re.sub(r"\s+#.*", "", span)


PAGES = [REPO / "README.md"] + sorted((REPO / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def helps():
    """What each command at the top and each script says with --help, by the words that a page calls it by."""
    found = {"./" + script.name: header(script) for script in SCRIPTS if script.parent == REPO}
    for command in COMMANDS:
        said = subprocess.run([sys.executable, "-m", command, "--help"], cwd=str(REPO), stdout=subprocess.PIPE, check=True)
        found["python -m " + command] = said.stdout.decode()
    found["./eval.sh"] += found["python -m eval"]  # whose options it takes
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_tells_to_type_exists(page, helps):
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for line in typed(page):
        variables, program, rest = re.match(r"((?:[A-Z][A-Z0-9_]*=\S* )*)(\./[\w-]+\.sh|make|python -m [\w.]+)(.*)", line).groups()
        if program == "make":
            assert all("\n%s:" % word in makefile for word in rest.split()[:1] if "=" not in word and word[0].islower()), line
        elif program.startswith("python -m todus."):
            name = program.split()[-1].replace(".", "/")
            assert (REPO / (name + ".py")).exists() or (REPO / name / "__main__.py").exists(), line
        elif program == "./start.sh":
            assert (REPO / "docs" / "start.sh").exists()
        else:
            assert program in helps, line
            for option in re.findall(r"(?<= )--?[a-z][\w-]*", rest):
                assert option == "--help" or re.search(r"(?<![\w-])%s(?![\w-])" % option, helps[program]), (line, option)
            for variable in re.findall(r"([A-Z][A-Z0-9_]*)=", variables):
                assert variable in helps[program] or variable in ANYWHERE, line
