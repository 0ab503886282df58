"""The pages of the documentation: their links, their index and their width."""

import re
from pathlib import Path

import pytest

from tests.helpers.places import REPO

PAGES = [REPO / "README.md", REPO / "CHANGELOG.md"] + sorted((REPO / "docs").rglob("*.md"))
WRAPPED = [page for page in PAGES if page.name != "reliability.md"]  # make torture writes into it


def prose(page: Path) -> str:
    """The text without blocks of code."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set:
    """What a link to a heading has after the #."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_each_link_in_a_page_leads_to_a_file_and_a_heading(page):
    targets = re.findall(r"\]\(\s*([^)\s]+)\s*\)", prose(page))
    for target in (each for each in targets if not each.startswith("http")):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_each_page_is_in_the_index_of_the_readme():
    text = prose(PAGES[0])
    for page in PAGES[1:]:
        assert "](%s)" % page.relative_to(REPO) in text


@pytest.mark.parametrize("page", WRAPPED, ids=lambda page: str(page.relative_to(REPO)))
def test_the_lines_of_a_page_have_at_most_100_columns(page):
    lines = [line for line in prose(page).split("\n") if "http" not in line]
    assert [line for line in lines if len(line) > 100 and line[0] != "|"] == []
