"""The documents agree with the code, and their links lead somewhere."""

from __future__ import annotations

import configparser
import re
from collections import defaultdict
from pathlib import Path

import pytest

from jqueue import errors

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "doc").rglob("*.md")])


def rows(page: str) -> list[list[str]]:
    """Gives the rows of the tables of a page, without their heads."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-:")][1:]


def all_errors(root: type[errors.GenericError]) -> list[type[errors.GenericError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_the_exit_status_of_every_error_is_documented() -> None:
    expected: defaultdict[int, set[str]] = defaultdict(set)
    for error in all_errors(errors.GenericError):
        if error.exit_status != 1 and error.__module__ == "jqueue.errors":
            expected[error.exit_status].add(error.__name__)
    documented = {int(row[0]): set(row[2].split(", ")) for row in rows("doc/reference/exit-status.md") if row[2]}
    del documented[1]
    assert documented == expected


def test_every_runtime_dependency_is_named_with_its_reason() -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    required = [line.split(";")[0].strip() for line in setup["options"]["install_requires"].split("\n") if line]
    table = [f"{row[0]}>={row[1]}" for row in rows("doc/design/dependencies.md") if row[2]]
    assert sorted(table) == sorted(required)


def anchors(page: Path) -> set[str]:
    """Gives what the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_pages_lead_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
    own = [(page.parent / target if target else page, anchor) for target, anchor in links if "://" not in target]
    assert [(str(target), anchor) for target, anchor in own if anchor not in anchors(target)] == []
