"""docs/architecture.md holds: each module in one layer, imports from the own layer or those above, no two modules importing each other."""

import ast
import re

from conftest import REPO

TODUS = REPO / "todus"


def layers():
    """Module or package right below todus/ -> the number of its layer."""
    block = re.search(r"```\n(.*?)```", (REPO / "docs" / "architecture.md").read_text(), re.S).group(1)
    found, number = {}, -1
    for line in block.splitlines():
        number += not line.startswith(" ")
        for name in line.split()[0 if line.startswith(" ") else 1 :]:
            assert name not in found, "%s is there twice" % name
            found[name] = number
    return found


def module_of(path):
    return ".".join(path.relative_to(REPO).with_suffix("").parts).replace(".__init__", "")


def imports():
    """Module -> the modules of todus that it imports anywhere, inside functions too."""
    modules = {module_of(path): path for path in TODUS.rglob("*.py")}
    found = {}
    for name, path in modules.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {"%s.%s" % (node.module, each.name) for each in node.names}
                wanted |= {each if each in modules else node.module for each in inner}
        found[name] = {each for each in wanted if each in modules and each not in (name, "todus")}
    return found


def test_every_module_has_its_layer():
    there = {path.stem for path in TODUS.glob("*.py")} | {path.parent.name for path in TODUS.glob("*/__init__.py")}
    assert set(layers()) == there - {"__init__"}


def test_imports_go_to_the_own_layer_or_up():
    number = layers()
    wrong = [
        "%s imports %s" % (name, each)
        for name, wanted in imports().items()
        for each in wanted
        if name != "todus" and number[name.split(".")[1]] < number[each.split(".")[1]]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_module_imports_itself_by_a_detour():
    graph, done = imports(), set()

    def walk(name, trail):
        assert name not in trail, " -> ".join(trail[trail.index(name) :] + [name])
        if name not in done:
            for each in graph[name]:
                walk(each, trail + [name])
            done.add(name)

    for name in graph:
        walk(name, [])


def test_no_module_imports_tensorflow_at_its_start():
    for path in TODUS.rglob("*.py"):
        text = path.read_text()
        assert path.name == "tf.py" or not re.search(r"^(import|from) (tensorflow|object_detection(?!\.protos))", text, re.M), path
