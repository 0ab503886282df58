"""docs/architecture.md lists the rooms of todus/, and the code follows its rules."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import REPO

TODUS = REPO / "todus"
MOST_IN_GROUND = 12
LONGEST_CHAIN = 12
STANDARD_LIBRARY_ONLY = ("", "doctor")  # "" is the ground
WITH_TENSORFLOW = ("uff",)  # its modules may import TensorFlow at their start


def listed():
    """The ground's modules and the rooms, in the order of the page."""
    text = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = re.findall(r"(?m)^    (\(ground\)|\w+)\s+(.*)$", text)
    return names[0][1].split(), [name for name, _ in names[1:]]


def module_of(path):
    return ".".join(path.relative_to(REPO).with_suffix("").parts).replace(".__init__", "")


def room_of(module):
    """The room of a module; "" for the ground."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (TODUS / parts[1]).is_dir() else ""


@functools.lru_cache(maxsize=None)
def trees():
    return {
        module_of(path): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(TODUS.rglob("*.py"))
    }


@functools.lru_cache(maxsize=None)
def imports():
    """Module -> the modules of todus that it imports, also inside functions."""
    modules, found = trees(), {}
    for name, tree in modules.items():
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                full = {"%s.%s" % (node.module, each.name) for each in node.names}
                imported |= {each if each in modules else node.module for each in full}
        found[name] = (imported & modules.keys()) - {name, "todus"}
    return found


def test_the_page_lists_every_module_of_the_ground_and_every_room():
    ground, rooms = listed()
    assert sorted(ground + ["__init__"]) == sorted(path.stem for path in TODUS.glob("*.py"))
    assert len(ground) <= MOST_IN_GROUND
    assert sorted(rooms) == sorted(path.parent.name for path in TODUS.glob("*/__init__.py"))


@pytest.mark.parametrize(
    "room", sorted(TODUS.rglob("*/__init__.py")), ids=lambda path: path.parent.name
)
def test_the_init_of_a_room_is_a_docstring_of_one_line(room):
    tree = ast.parse(room.read_text(encoding="utf-8"))
    assert "\n" not in ast.get_docstring(tree)
    assert len(tree.body) == 1 or room.parent.name == "commands"


def test_modules_import_from_the_ground_their_own_room_and_earlier_rooms():
    place = {"": -1, **{room: number for number, room in enumerate(listed()[1])}}
    wrong = [
        "%s imports %s" % (name, each)
        for name, imported in imports().items()
        for each in imported
        if place[room_of(name)] < place[room_of(each)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_two_modules_import_each_other_and_the_longest_chain_is_bounded():
    longest = {}

    def chain(name, trail=()):
        assert name not in trail, " -> ".join(trail[trail.index(name) :] + (name,))
        if name not in longest:
            below = [chain(each, trail + (name,)) for each in sorted(imports()[name])]
            longest[name] = (name,) + max(below, key=len, default=())
        return longest[name]

    most = max((chain(name) for name in imports()), key=len)
    assert len(most) <= LONGEST_CHAIN, " -> ".join(most)


def test_tensorflow_is_imported_inside_functions():
    for name, tree in trees().items():
        if room_of(name) in WITH_TENSORFLOW:
            continue
        modules = []
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
            elif isinstance(node, ast.Import):
                modules += [each.name for each in node.names]
        forbidden = re.compile(r"tensorflow|todus\.tf$|object_detection(?!\.protos)")
        assert not list(filter(forbidden.match, modules)), name


def test_only_commands_exit_the_process():
    for name, tree in trees().items():
        uses = {
            (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        assert ("sys", "exit") not in uses or room_of(name) == "commands", name


def test_no_module_uses_a_private_name_of_another():
    for name, tree in trees().items():
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("todus"):
                for each in node.names:
                    assert not each.name.startswith("_") or each.name == "__version__", name
                    if "%s.%s" % (node.module, each.name) in trees():
                        modules.add(each.asname or each.name)
        uses = [
            "%s.%s" % (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
        ]
        assert not [use for use in uses if "._" in use], name


def pythons():
    """Version -> the Python that runs the tests, and those that pyenv has installed."""
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    for version in ("3.7", "3.11", "3.13"):
        for root in (os.environ.get("PYENV_ROOT", "."), str(Path.home() / ".pyenv")):
            for path in sorted(Path(root).glob("versions/%s*/bin/python%s" % (version, version))):
                found.setdefault(version, str(path))
    return found


@pytest.mark.parametrize("version", sorted(pythons()))
def test_the_ground_and_the_doctor_need_only_the_standard_library(version):
    names = [name for name in trees() if room_of(name) in STANDARD_LIBRARY_ONLY]
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]); "
        "list(map(importlib.import_module, sys.argv[2:]))"
    )
    command = [pythons()[version], "-S", "-I", "-c", code, str(REPO)]
    subprocess.run(command + names, check=True)
