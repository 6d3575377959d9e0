"""Draws the lifecycle of a job as an SVG image: `doc/images/lifecycle.svg`, written by `doc/generate.py`.

Which states there are, and which may follow which, is read from the tables of `jqueue.jobs.lifecycle`. What is here is
where a state stands, which way an edge goes that is not a straight one, and what is written beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from jqueue.jobs import lifecycle
from jqueue.jobs.lifecycle import TRANSITIONS

Point = tuple[float, float]
Edge = tuple[str, str]


class Box(NamedTuple):
    """Where a state stands."""

    left: float
    top: float
    width: float = 108
    height: float = 40

    @property
    def center(self) -> Point:
        """The point in the middle."""
        return self.left + self.width / 2, self.top + self.height / 2

    def border(self, towards: Point) -> Point:
        """Gives the point on its border where a line from its middle leaves it."""
        (x, y), (to_x, to_y) = self.center, towards
        across, down = to_x - x, to_y - y
        scale = min(
            self.width / 2 / abs(across) if across else float("inf"),
            self.height / 2 / abs(down) if down else float("inf"),
        )
        return x + across * scale, y + down * scale


class Label(NamedTuple):
    """Words beside an edge."""

    x: float
    y: float
    """The base line of the text."""
    text: str
    anchor: str = "middle"


WIDTH: Final = 1000
HEIGHT: Final = 496
STATE_SIZE: Final = 16
LABEL_SIZE: Final = 13
_CORNER = 9.0

PLACES: Final = {
    lifecycle.UNDEFINED: Box(72, 92, 12, 12),
    lifecycle.CREATED: Box(24, 150),
    lifecycle.RUNNING: Box(204, 150),
    lifecycle.PAUSED: Box(204, 36),
    lifecycle.READY: Box(314, 246),
    lifecycle.STANDBY: Box(314, 336),
    lifecycle.WAITING: Box(482, 150),
    lifecycle.PENDING: Box(672, 150),
    lifecycle.ABORTING: Box(452, 392, 320, 40),
    lifecycle.CONCLUDED: Box(858, 150),
    lifecycle.NULL: Box(858, 36),
}

ROUTES: Final[dict[Edge, tuple[Point, ...]]] = {
    (lifecycle.CREATED, lifecycle.ABORTING): ((92, 190), (92, 422), (452, 422)),
    (lifecycle.CREATED, lifecycle.NULL): ((52, 190), (52, 474), (980, 474), (980, 56), (966, 56)),
    (lifecycle.RUNNING, lifecycle.PAUSED): ((240, 150), (240, 76)),
    (lifecycle.PAUSED, lifecycle.RUNNING): ((276, 76), (276, 150)),
    (lifecycle.RUNNING, lifecycle.READY): ((284, 190), (284, 266), (314, 266)),
    (lifecycle.RUNNING, lifecycle.ABORTING): ((232, 190), (232, 402), (452, 402)),
    (lifecycle.READY, lifecycle.STANDBY): ((350, 286), (350, 336)),
    (lifecycle.STANDBY, lifecycle.READY): ((386, 336), (386, 286)),
    (lifecycle.READY, lifecycle.WAITING): ((422, 256), (506, 256), (506, 190)),
    (lifecycle.READY, lifecycle.ABORTING): ((422, 276), (506, 276), (506, 392)),
    (lifecycle.WAITING, lifecycle.ABORTING): ((542, 190), (542, 392)),
    (lifecycle.PENDING, lifecycle.ABORTING): ((742, 190), (742, 392)),
    (lifecycle.ABORTING, lifecycle.ABORTING): ((572, 432), (572, 456), (652, 456), (652, 432)),
    (lifecycle.ABORTING, lifecycle.CONCLUDED): ((772, 412), (912, 412), (912, 190)),
}
"""The edges that are no straight line from border to border."""

LABELS: Final[dict[Edge, Label]] = {
    (lifecycle.UNDEFINED, lifecycle.CREATED): Label(92, 103, "submitted", "start"),
    (lifecycle.CREATED, lifecycle.RUNNING): Label(168, 161, "starts"),
    (lifecycle.RUNNING, lifecycle.PAUSED): Label(232, 118, "pause", "end"),
    (lifecycle.PAUSED, lifecycle.RUNNING): Label(284, 118, "resume", "start"),
    (lifecycle.RUNNING, lifecycle.READY): Label(292, 226, "converged", "start"),
    (lifecycle.RUNNING, lifecycle.WAITING): Label(397, 161, "its work is done"),
    (lifecycle.READY, lifecycle.STANDBY): Label(342, 316, "pause", "end"),
    (lifecycle.STANDBY, lifecycle.READY): Label(394, 316, "resume", "start"),
    (lifecycle.READY, lifecycle.WAITING): Label(463, 248, "complete"),
    (lifecycle.WAITING, lifecycle.PENDING): Label(631, 161, "all done"),
    (lifecycle.PENDING, lifecycle.CONCLUDED): Label(819, 161, "finalize"),
    (lifecycle.PENDING, lifecycle.ABORTING): Label(734, 340, "cancel, or a failure", "end"),
    (lifecycle.ABORTING, lifecycle.CONCLUDED): Label(842, 404, "undone"),
    (lifecycle.CONCLUDED, lifecycle.NULL): Label(904, 118, "dismiss", "end"),
}

USUAL: Final = (
    lifecycle.UNDEFINED,
    lifecycle.CREATED,
    lifecycle.RUNNING,
    lifecycle.WAITING,
    lifecycle.PENDING,
    lifecycle.CONCLUDED,
    lifecycle.NULL,
)
"""The way of a job that is successful and finalised by itself."""

_STYLE = """
.page { fill: #ffffff; stroke: #d0d7de }
.box { fill: #f3f5f7; stroke: #57606a; stroke-width: 1.5 }
.held { fill: #fff3d1; stroke: #9a6700 }
.undo { fill: #ffe8e6; stroke: #b3261e }
.end { fill: #e3f4e6; stroke: #1a7f37 }
.edge { fill: none; stroke: #6e7781; stroke-width: 1.5; stroke-linejoin: round }
.head, .dot { fill: #6e7781 }
.usual { stroke: #0550ae; stroke-width: 2.5 }
.usual-head { fill: #0550ae }
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #1f2328 }
.state { font-size: 16px; font-weight: 600; text-anchor: middle }
.label { font-size: 13px; fill: #424a53 }
@media (prefers-color-scheme: dark) {
  .page { fill: #161b22; stroke: #30363d }
  .box { fill: #21262d; stroke: #8b949e }
  .held { fill: #3a2d0c; stroke: #d29922 }
  .undo { fill: #3d1a1a; stroke: #f85149 }
  .end { fill: #12331d; stroke: #3fb950 }
  .edge { stroke: #8b949e }
  .head, .dot { fill: #8b949e }
  .usual { stroke: #58a6ff }
  .usual-head { fill: #58a6ff }
  text { fill: #e6edf3 }
  .label { fill: #b1bac4 }
}
"""
_KINDS = {
    lifecycle.PAUSED: "box held",
    lifecycle.STANDBY: "box held",
    lifecycle.READY: "box held",
    lifecycle.PENDING: "box held",
    lifecycle.ABORTING: "box undo",
    lifecycle.CONCLUDED: "box end",
}
"""What colour a state has; the others have none."""


def edges() -> list[Edge]:
    """Gives every edge of the table, in its order."""
    order = [lifecycle.UNDEFINED, *lifecycle.STATES]
    return [(before, after) for before in order for after in order if after in TRANSITIONS[before]]


def route(edge: Edge) -> tuple[Point, ...]:
    """Gives the corners of an edge, its ends included."""
    before, after = (PLACES[state] for state in edge)
    return ROUTES.get(edge) or (before.border(after.center), after.border(before.center))


def lifecycle_image() -> str:
    """Draws the lifecycle.

    @raise KeyError: a state of the table has no place
    """
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' role="img">'
    )
    yield "<title>The lifecycle of a job: its states, and which may follow which</title>"
    yield f"<style>{_STYLE}</style>"
    yield "<defs>"
    yield from (_arrow_head(name) for name in ("head", "usual-head"))
    yield "</defs>"
    yield f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>'
    yield from map(_edge, edges())
    yield from (_state(state) for state in (lifecycle.UNDEFINED, *lifecycle.STATES))
    yield from (_label(LABELS[edge]) for edge in edges() if edge in LABELS)
    yield "</svg>"


def _arrow_head(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9"'
        f' markerUnits="userSpaceOnUse" orient="auto"><path class="{name}" d="M0 0.5 L10 5 L0 9.5 Z"/></marker>'
    )


def _edge(edge: Edge) -> str:
    before, after = edge
    usual = edge in zip(USUAL, USUAL[1:], strict=False)
    style, head = ("edge usual", "usual-head") if usual else ("edge", "head")
    return (
        f'<path class="{style}" data-from="{before}" data-to="{after}" marker-end="url(#{head})"'
        f' d="{_rounded(route(edge))}"/>'
    )


def _rounded(points: tuple[Point, ...]) -> str:
    """Gives the path through some points, whose corners are round."""
    parts = ["M" + _xy(points[0])]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        parts += ["L" + _xy(_near(corner, before)), f"Q{_xy(corner)} {_xy(_near(corner, after))}"]
    return " ".join([*parts, "L" + _xy(points[-1])])


def _near(corner: Point, other: Point) -> Point:
    """Gives the point on the way from a corner to another point where its rounding begins."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    share = min(_CORNER / (across**2 + down**2) ** 0.5, 0.5)
    return corner[0] + across * share, corner[1] + down * share


def _xy(point: Point) -> str:
    return f"{point[0]:g} {point[1]:g}"


def _state(state: str) -> str:
    box = PLACES[state]
    x, y = box.center
    if state == lifecycle.UNDEFINED:
        return f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="{box.width / 2:g}"/>'
    return (
        f'<rect class="{_KINDS.get(state, "box")}" x="{box.left:g}" y="{box.top:g}"'
        f' width="{box.width:g}" height="{box.height:g}" rx="7"/>'
        f'<text class="state" x="{x:g}" y="{y + STATE_SIZE * 0.35:g}">{escape(state)}</text>'
    )


def _label(label: Label) -> str:
    return (
        f'<text class="label" x="{label.x:g}" y="{label.y:g}" text-anchor="{label.anchor}">{escape(label.text)}</text>'
    )
