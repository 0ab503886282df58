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
    """The classes that CATEGORIES names: "Polar bear", Polar_bear or /m/0633h; nearest names in the UsageError for a wrong one."""
    names, by_mid = known(), mids()
    if text.strip() == "all":
        return names
    listed, chosen = [], set()
    for name in categories.split_names(
        text, {categories.canonical(name) for name in names.values()}
    ):
        if name.startswith(("/m/", "/g/", "/j/")):
            if name not in by_mid:
                raise UsageError(
                    "no class with the label %s among Open Images' 601; see todus/labels/openimages.csv"
                    % name
                )
            chosen.add(by_mid[name])
        else:
            listed.append(name)
    if listed or not chosen:
        chosen |= set(categories.choose("\n".join(listed) + "\n", names, "Open Images"))
    return {identity: names[identity] for identity in sorted(chosen)}


def labels_of(chosen: Mapping[int, str]) -> Dict[str, int]:
    """Label -> id of the chosen classes."""
    return {mid: identity for mid, identity in mids().items() if identity in chosen}


def labels_with_subclasses(chosen: Mapping[int, str], hierarchy: Any) -> Dict[str, int]:
    """Label -> id of the chosen class that boxes with the label become: its own, else the nearest chosen class above it.

    Args:
      chosen: id -> name.
      hierarchy: the value in bbox_labels_600_hierarchy.json, a tree of {"LabelName", "Subcategory": [...]}; parts (a wheel of a car) are
        no subcategories.
    """
    own = labels_of(chosen)
    found = dict(own)
    todo = [(hierarchy, None)]
    while todo:
        node, above = todo.pop()
        if not isinstance(node, dict):
            continue
        label = node.get("LabelName")
        nearest = own.get(label, above) if isinstance(label, str) else above
        if nearest is not None and isinstance(label, str):
            found.setdefault(label, nearest)
        children = node.get("Subcategory")
        todo += [(child, nearest) for child in children] if isinstance(children, list) else []
    return found


def with_subclasses(chosen: Mapping[int, str], hierarchy: Any) -> Dict[int, str]:
    """The chosen classes and every class below them."""
    names, by_mid = known(), mids()
    found = {
        by_mid[label] for label in labels_with_subclasses(chosen, hierarchy) if label in by_mid
    }
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
