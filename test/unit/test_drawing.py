"""The drawing of the lifecycle has the edges of the table, and can be read: nothing in it lies on anything else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

import drawing
from jqueue.jobs.lifecycle import STATES, TRANSITIONS

SVG = "{http://www.w3.org/2000/svg}"
TABLE = {(before, after) for before, followers in TRANSITIONS.items() for after in followers}
GAP = 3
"""What has to be between words and everything else, in pixels."""


class Area(NamedTuple):
    """What something covers: a line that is not slanted, a box, words."""

    left: float
    top: float
    right: float
    bottom: float

    def touches(self, other: Area) -> bool:
        """Whether the two have a point in common."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.top <= other.bottom
            and other.top <= self.bottom
        )


def image() -> ElementTree.Element:
    return ElementTree.fromstring(drawing.lifecycle_image())


def box(state: str) -> Area:
    left, top, width, height = drawing.PLACES[state]
    return Area(left, top, left + width, top + height)


def lines(edge: drawing.Edge) -> Iterator[Area]:
    """Gives the straight parts of an edge."""
    for (x, y), (to_x, to_y) in pairwise(drawing.route(edge)):
        yield Area(min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))


def words(label: drawing.Label) -> Area:
    """What a label covers in a font with wide letters."""
    width = 0.66 * drawing.LABEL_SIZE * len(label.text)
    left = {"start": label.x, "middle": label.x - width / 2, "end": label.x - width}[label.anchor]
    above, below = 0.8 * drawing.LABEL_SIZE, 0.25 * drawing.LABEL_SIZE
    return Area(left - GAP, label.y - above - GAP, left + width + GAP, label.y + below + GAP)


def test_it_has_each_edge_of_the_table_once_and_no_other() -> None:
    drawn = [(edge.get("data-from"), edge.get("data-to")) for edge in image().iter(f"{SVG}path") if edge.get("data-to")]
    assert sorted(drawn, key=str) == sorted(TABLE)


def test_every_state_is_named_once_in_text() -> None:
    named = [text.text for text in image().iter(f"{SVG}text") if text.get("class") == "state"]
    assert named == list(STATES)


def test_what_is_said_of_single_edges_is_said_of_edges_of_the_table() -> None:
    assert drawing.ROUTES.keys() <= TABLE
    assert drawing.LABELS.keys() <= TABLE


@pytest.mark.parametrize("edge", sorted(TABLE), ids=">".join)
def test_an_edge_leads_from_its_state_to_the_next_and_past_all_others(edge: drawing.Edge) -> None:
    before, after = edge
    route = drawing.route(edge)
    for state, (x, y) in ((before, route[0]), (after, route[-1])):
        area = box(state)
        assert area.touches(Area(x, y, x, y)), f"it does not touch {state}"
        assert x in (area.left, area.right) or y in (area.top, area.bottom), f"it ends inside {state}"
    others = [state for state in drawing.PLACES if state not in edge]
    assert [state for state in others for line in lines(edge) if line.touches(box(state))] == []


@pytest.mark.parametrize("edge", sorted(TABLE), ids=">".join)
def test_no_line_of_an_edge_is_slanted(edge: drawing.Edge) -> None:
    assert all(line.left == line.right or line.top == line.bottom for line in lines(edge))


def test_no_two_edges_cross_or_touch() -> None:
    found = [
        (one, other)
        for one, other in combinations(sorted(TABLE), 2)
        if any(line.touches(another) for line in lines(one) for another in lines(other))
    ]
    assert found == []


@pytest.mark.parametrize("edge", drawing.LABELS, ids=">".join)
def test_a_label_overlaps_nothing(edge: drawing.Edge) -> None:
    area = words(drawing.LABELS[edge])
    page = Area(0, 0, drawing.WIDTH, drawing.HEIGHT)
    assert page.left < area.left and area.right < page.right and page.top < area.top and area.bottom < page.bottom
    assert [other for other in TABLE if any(area.touches(line) for line in lines(other))] == []
    assert [state for state in drawing.PLACES if area.touches(box(state))] == []
    others = (label for other, label in drawing.LABELS.items() if other != edge)
    assert [label.text for label in others if area.touches(words(label))] == []


def test_the_name_of_a_state_fits_into_its_box() -> None:
    wide = {state: 0.7 * drawing.STATE_SIZE * len(state) for state in STATES}
    assert [state for state in STATES if wide[state] > drawing.PLACES[state].width] == []
