"""docs/architecture.md holds: its rooms are those of todus/, and its rules are those of the code."""

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
WITHOUT_PACKAGES = ("doctor",)  # rooms that need the standard library alone, as the ground does
WITH_TENSORFLOW = ("uff",)  # rooms whose modules may import it at their start


def listed():
    """The ground's modules, and the rooms in their order, as the page lists them."""
    text = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = re.findall(r"(?m)^    (\(ground\)|\w+)\s+(.*)$", text)
    return names[0][1].split(), [name for name, _ in names[1:]]


def module_of(path):
    return ".".join(path.relative_to(REPO).with_suffix("").parts).replace(".__init__", "")


def room_of(module):
    """The room that a module is in, "" for the ground."""
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
    """Module -> the modules of todus that it imports anywhere, inside functions too."""
    modules, found = trees(), {}
    for name, tree in modules.items():
        wanted = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wanted |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {"%s.%s" % (node.module, each.name) for each in node.names}
                wanted |= {each if each in modules else node.module for each in inner}
        found[name] = {each for each in wanted if each in modules and each not in (name, "todus")}
    return found


def test_the_page_lists_every_module_of_the_ground_and_every_room():
    ground, rooms = listed()
    assert sorted(ground) == sorted(
        path.stem for path in TODUS.glob("*.py") if path.stem != "__init__"
    )
    assert len(ground) <= MOST_IN_GROUND
    assert sorted(rooms) == sorted(path.parent.name for path in TODUS.glob("*/__init__.py"))


@pytest.mark.parametrize(
    "room", sorted(TODUS.rglob("*/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_room_says_in_one_line_what_it_holds(room):
    tree = ast.parse(room.read_text(encoding="utf-8"))
    assert "\n" not in ast.get_docstring(tree) and (
        len(tree.body) == 1 or room.parent.name == "commands"
    )


def test_imports_go_to_the_ground_the_own_room_or_rooms_before():
    place = {"": -1, **{room: number for number, room in enumerate(listed()[1])}}
    wrong = [
        "%s imports %s" % (name, each)
        for name, wanted in imports().items()
        for each in wanted
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
        for node in tree.body:
            modules = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [each.name for each in getattr(node, "names", [])]
            )
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not [
                    each
                    for each in modules
                    if re.match(r"tensorflow|todus\.tf$|object_detection(?!\.protos)", each)
                ], name


def test_only_commands_exit_the_process():
    for name, tree in trees().items():
        exits = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and ast.dump(node.value) == ast.dump(ast.Name("sys", ast.Load()))
        ]
        if room_of(name) != "commands":
            assert "exit" not in [node.attr for node in exits], name


def test_no_module_uses_a_private_name_of_another():
    for name, tree in trees().items():
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("todus"):
                assert not [
                    each.name
                    for each in node.names
                    if each.name.startswith("_") and each.name != "__version__"
                ], name
                inner = {
                    "%s.%s" % (node.module, each.name): each.asname or each.name
                    for each in node.names
                }
                modules |= {alias for full, alias in inner.items() if full in trees()}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in modules
            ):
                assert not node.attr.startswith("_"), "%s uses %s.%s" % (
                    name,
                    node.value.id,
                    node.attr,
                )


def bare_pythons():
    """Pythons of this machine beside the one that runs, which see no package: -S -I."""
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    for version in ("3.7", "3.11", "3.13"):
        for root in (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")):
            for path in sorted(
                Path(root or ".").glob("versions/%s*/bin/python%s" % (version, version))
            ):
                found.setdefault(version, str(path))
    return sorted(found.items())


@pytest.mark.parametrize(
    "python", [path for _, path in bare_pythons()], ids=[version for version, _ in bare_pythons()]
)
def test_the_ground_and_the_doctor_need_the_standard_library_alone(python):
    names = [name for name in trees() if room_of(name) in ("",) + WITHOUT_PACKAGES]
    code = "import importlib, sys; sys.path.insert(0, sys.argv[1]); [importlib.import_module(name) for name in sys.argv[2:]]"
    subprocess.run([python, "-S", "-I", "-c", code, str(REPO)] + names, check=True)
