"""Any changes to a tree, before, between and during the scans: the trees are the same whenever the mirror is ready."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jqueue.opcodes.base import COMPLETE

from .trees import NOT_UTF8, Clock, Rig, Watched

NAMES = ["a", "b", NOT_UTF8]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
Change = Callable[[Path], object]


def write(path: str, text: str, plain_time: bool) -> Change:
    def change(top: Path) -> None:
        (top / path).write_text(text)
        if plain_time:
            os.utime(top / path, ns=(1, 1))

    return change


def link(path: str, text: str) -> Change:
    return lambda top: (top / path).symlink_to(text)


def directory(path: str) -> Change:
    return lambda top: (top / path).mkdir(parents=True)


def remove(path: str) -> Change:
    def change(top: Path) -> None:
        if (top / path).is_dir() and not (top / path).is_symlink():
            shutil.rmtree(top / path)
        else:
            (top / path).unlink()

    return change


def rename(old: str, new: str) -> Change:
    return lambda top: (top / old).rename(top / new)


def leave(path: str, number: int) -> Change:
    return lambda top: (top / path).rename(top.parent / f"outside{number}")


def enter(path: str, number: int) -> Change:
    return lambda top: (top.parent / f"outside{number}").rename(top / path)


def mode(path: str, bits: int) -> Change:
    def change(top: Path) -> None:
        if not (top / path).is_symlink():
            (top / path).chmod(bits)

    return change


others = [
    st.builds(link, paths, st.sampled_from(["a", "../b", "/nonexistent"])),
    st.builds(directory, paths),
    st.builds(remove, paths),
    st.builds(rename, paths, paths),
    st.builds(leave, paths, st.integers(0, 1)),
    st.builds(enter, paths, st.integers(0, 1)),
    st.builds(mode, paths, st.sampled_from([0o700, 0o755, 0o1777])),
]
changes = st.one_of(st.builds(write, paths, st.sampled_from(["", "one", "two", "x" * 1000]), st.booleans()), *others)
# Of another size than any in the source: what was there before the mirror passes for the same by size and time.
spoilt = st.one_of(st.builds(write, paths, st.just("spoilt"), st.booleans()), *others)
batches = st.lists(st.lists(changes, min_size=1, max_size=4), max_size=6)


def make(top: Path, batch: Sequence[Change]) -> None:
    for change in batch:
        with suppress(OSError, shutil.Error):
            change(top)


class Disturbed(Watched):
    """Makes changes at some of the checkpoints as well, until it tells to complete."""

    disturbances: list[list[Change]]

    def checkpoint(self) -> None:
        super().checkpoint()
        if self.checkpoints % 3 == 0 and self.disturbances:
            make(self.source, self.disturbances.pop())

    def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
        told = super().ready(seconds, descriptor)
        if told is not None:
            self.disturbances = []
        return told


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(changes, max_size=15), st.lists(spoilt, max_size=5), batches, batches)
def test_the_trees_are_the_same_whenever_the_mirror_is_ready(
    source: list[Change], target: list[Change], between: list[list[Change]], during: list[list[Change]]
) -> None:
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        rig = Rig(Path(top), Clock(patch))
        rig.target.mkdir()
        make(rig.source, source)
        make(rig.target, target)
        context = Disturbed(
            rig.clock, rig.source, rig.target, [partial(make, rig.source, batch) for batch in between], COMPLETE
        )
        context.disturbances = during
        rig.op().exec(context)
        assert rig.same()
        assert not list(rig.target.rglob(".jqueue*"))
