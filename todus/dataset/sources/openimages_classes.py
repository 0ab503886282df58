"""The 601 boxable classes of Open Images, and their hierarchy."""

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping

from todus import categories
from todus.errors import TodusError, UsageError


def known() -> Dict[int, str]:
    """id -> name, 1 to 601, in the order of class-descriptions-boxable.csv."""
    return categories.bundled("openimages")


def mids() -> Dict[str, int]:
    """Label such as /m/0cd4d -> id."""
    with (categories.LABELS / "openimages.csv").open(newline="", encoding="utf-8") as file:
        return {row["mid"]: int(row["id"]) for row in csv.DictReader(file)}


def choose(text: str) -> Dict[int, str]:
    """id -> name of the classes in CATEGORIES, each as "Polar bear", Polar_bear or /m/0633h.

    Raises UsageError, with the nearest names, for an unknown class.
    """
    names, by_mid = known(), mids()
    if text.strip() == "all":
        return names
    listed, chosen = [], set()
    for name in categories.split_names(text, set(map(categories.canonical, names.values()))):
        if not name.startswith(("/m/", "/g/", "/j/")):
            listed.append(name)
        elif name in by_mid:
            chosen.add(by_mid[name])
        else:
            raise UsageError(
                "no class of Open Images has the label %s; see todus/labels/openimages.csv" % name
            )
    if listed or not chosen:
        chosen |= set(categories.choose("\n".join(listed) + "\n", names, "Open Images"))
    return {identity: names[identity] for identity in sorted(chosen)}


def labels_of(chosen: Mapping[int, str]) -> Dict[str, int]:
    """Label -> id of the chosen classes."""
    return {mid: identity for mid, identity in mids().items() if identity in chosen}


def labels_with_subclasses(chosen: Mapping[int, str], hierarchy: Any) -> Dict[str, int]:
    """Label -> id of its own class if chosen, else of the nearest chosen class above it.

    Args:
      chosen: id -> name.
      hierarchy: the value in bbox_labels_600_hierarchy.json, a tree of
        {"LabelName", "Subcategory": [...]}; a part (the wheel of a car) is not a subclass.
    """
    own = labels_of(chosen)
    found = dict(own)
    todo = [(hierarchy, None)]
    while todo:
        node, above = todo.pop()
        if not isinstance(node, dict):
            continue
        label, children = node.get("LabelName"), node.get("Subcategory")
        nearest = above
        if isinstance(label, str):
            nearest = own.get(label, above)
            if nearest is not None:
                found.setdefault(label, nearest)
        if isinstance(children, list):
            todo += [(child, nearest) for child in children]
    return found


def with_subclasses(chosen: Mapping[int, str], hierarchy: Any) -> Dict[int, str]:
    """The chosen classes and every class below them."""
    names, by_mid = known(), mids()
    labels = labels_with_subclasses(chosen, hierarchy)
    found = {by_mid[label] for label in labels if label in by_mid}
    return {identity: names[identity] for identity in sorted(found)}


def read_hierarchy(path: Path) -> Any:
    """The value in bbox_labels_600_hierarchy.json. Raises TodusError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TodusError(
            "%s is not the class hierarchy (%s); remove it and run this again" % (path, error)
        )


def ordered(names: Mapping[int, str]) -> List[str]:
    """The names in the order of their ids."""
    return [names[identity] for identity in sorted(names)]
