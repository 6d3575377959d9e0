"""Modes and requests."""

from __future__ import annotations

import pytest

from jqueue.errors import OpPrereqError
from jqueue.locks.modes import (
    ALL,
    EXCLUSIVE,
    INTENT_EXCLUSIVE,
    INTENT_SHARED,
    SHARED,
    SHARED_INTENT_EXCLUSIVE,
    LockRequest,
    Mode,
    compatible,
    key_text,
    normalise,
    stronger,
)

MODES = (SHARED, 2, EXCLUSIVE, INTENT_SHARED, INTENT_EXCLUSIVE, SHARED_INTENT_EXCLUSIVE)
FRIENDS = {
    (SHARED, SHARED),
    (SHARED, 2),
    (2, 2),
    (SHARED, INTENT_SHARED),
    (INTENT_SHARED, INTENT_SHARED),
    (INTENT_SHARED, INTENT_EXCLUSIVE),
    (INTENT_SHARED, SHARED_INTENT_EXCLUSIVE),
    (INTENT_EXCLUSIVE, INTENT_EXCLUSIVE),
}


@pytest.mark.parametrize("one", MODES)
@pytest.mark.parametrize("other", MODES)
def test_two_modes_get_on_or_not_whoever_came_first(one: Mode, other: Mode) -> None:
    assert compatible(one, other) == ((one, other) in FRIENDS or (other, one) in FRIENDS)


def test_of_two_modes_the_stronger_one_wins_and_counts_are_not_added() -> None:
    assert stronger(SHARED, 1) == 1
    assert stronger(3, 2) == 3
    assert stronger(9, EXCLUSIVE) == EXCLUSIVE
    assert stronger(SHARED, SHARED) == SHARED


def test_a_declaration_becomes_a_request() -> None:
    declared = {"file": {"/a": SHARED, "/b": EXCLUSIVE}, "resource": {"tape": 2}, "node": ALL, "image": SHARED}
    assert normalise(declared) == {
        ("file", "/a"): SHARED,
        ("file", "/b"): EXCLUSIVE,
        ("resource", "tape"): 2,
        ("node", ALL): EXCLUSIVE,
        ("image", ALL): SHARED,
    }
    assert not normalise({})


def test_a_bad_declaration_is_refused_with_its_place() -> None:
    with pytest.raises(OpPrereqError, match=r"locks\.node\.n1"):
        normalise({"node": {"n1": "write"}})


def test_a_union_has_the_stronger_modes_and_nothing_that_is_covered() -> None:
    held = LockRequest({("node", ALL): SHARED, ("file", "/a"): SHARED, ("resource", "tape"): 2})
    more = LockRequest({("node", "n1"): SHARED, ("node", "n2"): EXCLUSIVE, ("file", "/a"): 1, ("resource", "tape"): 1})
    assert held.union(more) == {
        ("node", ALL): SHARED,
        ("node", "n2"): EXCLUSIVE,
        ("file", "/a"): 1,
        ("resource", "tape"): 2,
    }
    assert held.union(LockRequest({("node", "n9"): SHARED})) is held


@pytest.mark.parametrize(
    ("requests", "together"),
    [
        ([], {}),
        ([{("resource", "tape"): 1}, {("resource", "tape"): 2}, {("resource", "tape"): 1}], {("resource", "tape"): 4}),
        ([{("resource", "tape"): SHARED}, {("resource", "tape"): 2}], {("resource", "tape"): 2}),
        (
            [{("file", "/a"): SHARED}, {("file", "/a"): SHARED, ("file", "/b"): EXCLUSIVE}],
            {("file", "/a"): SHARED, ("file", "/b"): EXCLUSIVE},
        ),
        ([{("node", ALL): SHARED}, {("node", "n1"): SHARED}], {("node", ALL): SHARED, ("node", "n1"): SHARED}),
    ],
)
def test_parts_that_hold_side_by_side_need_what_they_count_together(
    requests: list[dict[tuple[str, str], Mode]], together: dict[tuple[str, str], Mode]
) -> None:
    assert dict(LockRequest.side_by_side(map(LockRequest, requests))) == together


def test_a_whole_level_held_exclusively_covers_every_name_in_every_mode() -> None:
    request = LockRequest({("node", ALL): EXCLUSIVE})
    assert request.covers(("node", "n1"), EXCLUSIVE)
    assert request.covers(("node", ALL), SHARED)
    assert not request.covers(("instance", "n1"), SHARED)


@pytest.mark.parametrize(
    ("request_", "mode"),
    [
        ({("node", "n1"): SHARED}, INTENT_SHARED),
        ({("node", "n1"): 1}, INTENT_SHARED),
        ({("node", "n1"): SHARED, ("node", "n2"): EXCLUSIVE}, INTENT_EXCLUSIVE),
        ({("node", ALL): SHARED}, SHARED),
        ({("node", ALL): SHARED, ("node", "n1"): EXCLUSIVE}, SHARED_INTENT_EXCLUSIVE),
        ({("node", ALL): EXCLUSIVE, ("node", "n1"): EXCLUSIVE}, EXCLUSIVE),
    ],
)
def test_the_level_is_locked_as_its_names_need_it_and_before_them(
    request_: dict[tuple[str, str], Mode], mode: Mode
) -> None:
    locks = LockRequest(request_).with_levels()
    assert next(iter(locks.items())) == (("node", ALL), mode)
    assert locks.keys() == {("node", ALL)} | request_.keys()


def test_locks_are_written_as_level_and_name() -> None:
    assert key_text(("resource", "tape")) == "resource/tape"
    assert key_text(("node", ALL)) == "node/*"
