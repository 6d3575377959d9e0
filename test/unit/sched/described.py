"""Jobs and groups of every kind, as the machines submit them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from jqueue.locks.modes import EXCLUSIVE, SHARED

from .rig import START, op

UNITS = 3
"""Capacity of the counted lock."""

ACCEPTED = [[], ["success"], ["success", "error", "canceled"]]

lock_modes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"resource": {"a": EXCLUSIVE}},
        {"resource": {"a": SHARED, "b": EXCLUSIVE}},
        {"resource": {"b": SHARED}},
        {"resource": {"tape": 2}},
        {"resource": {"tape": 1, "a": EXCLUSIVE}},
        {"resource": EXCLUSIVE},
        {"resource": SHARED},
    ]
)
_peaceful: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {"resource": {"b": SHARED}}, {"resource": {"b": SHARED, "tape": 1}}]
)
"""Locks that jobs can have side by side."""

_more: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"fails": ["exec"]},
        {"fails": ["prepare"]},
        {"fails": ["commit", "abort"]},
        {"fails": ["declare"]},
        {"fails": ["unspeakable"]},
        {"fails_until": 1, "retries": {"attempts": 2, "delay": 30}},
        {"fails_until": 2, "retries": {"attempts": 2}},
        {"saves": 1},
        {"timeout": 50},
        {"not_before": START + 100},
        {"children": [[op()]]},
        {"looks": False},
        {"undo_looks": True},
        {"undo_looks": True, "fails": ["exec"]},
        {"speed": -1},
    ]
)
_calm: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *[{}, {}, {}, {}, {}, {}],
        {"fails": ["exec"]},
        {"fails": ["prepare"]},
        {"fails": ["commit", "abort"]},
        {"fails_until": 1, "retries": {"attempts": 2}},
        {"saves": 1},
        {"timeout": 50},
        {"looks": False},
        {"undo_looks": True},
    ]
)
"""Mostly what goes well: where one member fails, the whole group does."""

_DEFERRABLE = ["OP_WORK", "OP_STUBBORN", "OP_AGAIN", "OP_UNDO", "OP_UNDO_AGAIN"]
_classes = st.sampled_from(["OP_WORK", *_DEFERRABLE, "OP_DECLARE", "OP_DECLARE_UNDO"])
_deferrable = st.sampled_from([*_DEFERRABLE, "OP_UNDO"])
_converging = st.sampled_from(["OP_CONVERGE", "OP_CONVERGE_AGAIN"])
_priorities = st.sampled_from([-10, 0, 0, 10])


@st.composite
def opcodes(draw: st.DrawFn) -> dict[str, Any]:
    """An opcode of a job that is finalised by itself."""
    kind = draw(_classes)
    made = op(kind, locks=draw(lock_modes), priority=draw(_priorities), **draw(_more))
    if kind.startswith("OP_DECLARE"):
        made["declares"] = draw(lock_modes)
    return made


def _of(kinds: st.SearchStrategy[str], locks: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda kind, locks, more: op(kind, locks=locks, **more),
        kinds,
        locks,
        _calm,
    )


@st.composite
def _long_jobs(draw: st.DrawFn, locks: st.SearchStrategy[dict[str, Any]], auto_finalize: bool) -> dict[str, Any]:
    """A job that may converge, and need not be finalised by itself."""
    converges = draw(st.sampled_from([True, False]))
    ops = draw(st.lists(_of(_deferrable, locks), min_size=not converges, max_size=2))
    if converges:
        ops = [*ops[:1], draw(_of(_converging, locks))]
    return {"ops": ops, "auto_finalize": auto_finalize, "auto_dismiss": draw(st.sampled_from([False, False, True]))}


jobs: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {"ops": st.lists(opcodes(), min_size=1, max_size=2)}, optional={"auto_dismiss": st.booleans()}
    ),
    _long_jobs(lock_modes, True),
    _long_jobs(lock_modes, False),
)


@st.composite
def groups(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The jobs of a group; one that is finalised by hand holds all."""
    count = draw(st.integers(2, 4))
    manual = draw(st.sampled_from([None, None, 0, count - 1]))
    made = [draw(_long_jobs(_peaceful, number != manual)) for number in range(count)]
    if draw(st.booleans()):
        made[0]["ops"][0]["locks"] = {"resource": {"a": EXCLUSIVE}}
    return made
