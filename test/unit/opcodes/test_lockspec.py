from __future__ import annotations

from pathlib import Path

import pytest

from jqueue.errors import OpPrereqError
from jqueue.opcodes.lockspec import (
    ALL,
    EXCLUSIVE,
    SHARED,
    Mode,
    merge,
    normalise,
    rename_paths,
    resolve_paths,
    stronger,
)


@pytest.mark.parametrize(
    ("spec", "normal"),
    [
        ({}, {}),
        ({"file": {}}, {}),
        ({"file": {"/a": SHARED}}, {"file": {"/a": SHARED}}),
        ({"resource": {"slots": 3}}, {"resource": {"slots": 3}}),
        ({"node": SHARED}, {"node": {ALL: SHARED}}),
        ({"node": ALL}, {"node": {ALL: EXCLUSIVE}}),
    ],
)
def test_the_normal_form(spec: object, normal: object) -> None:
    assert normalise(spec, "p") == normal


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ([], "p: map of lock levels expected, got a list"),
        ({"fiel": SHARED}, "p.fiel: unknown lock level; known are"),
        ({"file": {"/a": "read"}}, 'p.file["/a"]: shared, exclusive or a count of at least 1 expected, got "read"'),
        ({"resource": {"a": 0}}, "p.resource.a: shared, exclusive or a count of at least 1 expected, got 0"),
        ({"resource": {"a": True}}, "p.resource.a: shared, exclusive or a count of at least 1 expected, got true"),
        ({"resource": {7: SHARED}}, "p.resource[7]: text expected, got 7"),
        ({"resource": {"": SHARED}}, "p.resource: a lock needs a name"),
        ({"resource": ["a"]}, "p.resource: shared, exclusive or a count of at least 1 expected, got a list"),
    ],
)
def test_a_bad_request_is_refused_with_its_path(spec: object, text: str) -> None:
    with pytest.raises(OpPrereqError) as caught:
        normalise(spec, "p")
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        (SHARED, SHARED, SHARED),
        (SHARED, EXCLUSIVE, EXCLUSIVE),
        (EXCLUSIVE, 2, EXCLUSIVE),
        (2, 3, 3),
        (SHARED, 2, EXCLUSIVE),
    ],
)
def test_the_stronger_mode_covers_both(one: Mode, other: Mode, result: Mode) -> None:
    assert stronger(one, other) == result == stronger(other, one)


def test_merging_changes_neither_request() -> None:
    one: dict[str, dict[str, Mode]] = {"file": {"/a": SHARED}}
    other: dict[str, dict[str, Mode]] = {"file": {"/a": EXCLUSIVE, "/b": SHARED}, "node": {"n": SHARED}}
    assert merge(one, other) == {"file": {"/a": EXCLUSIVE, "/b": SHARED}, "node": {"n": SHARED}}
    assert one == {"file": {"/a": SHARED}}


def test_two_spellings_of_a_path_become_one_lock_in_the_stronger_mode(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    (real / "link").symlink_to(real / "data")
    locks: dict[str, dict[str, Mode]] = {
        "file": {f"{real}/link": SHARED, f"{real}/./data": EXCLUSIVE, ALL: SHARED},
        "resource": {f"{real}/link": SHARED},
    }
    resolved = resolve_paths(locks)
    assert rename_paths(locks, resolved) == {
        "file": {f"{real}/data": EXCLUSIVE, ALL: SHARED},
        "resource": {f"{real}/link": SHARED},
    }


def test_a_path_that_is_spelled_well_is_not_remembered() -> None:
    assert resolve_paths({"file": {"/nonexistent/data": SHARED}}) == {}
