"""Lines of waiters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jqueue.locks.line import Line, Place

places = st.tuples(st.integers(0, 20), st.integers(0, 20))


@settings(derandomize=True, deadline=None)
@given(st.lists(places, unique=True), st.data())
def test_a_line_is_a_sorted_list_whatever_leaves_it(present: list[Place], data: st.DataObject) -> None:
    line = Line()
    for place in present:
        line.add(place)
    for gone in data.draw(st.permutations(present)):
        present = sorted(set(present) - {gone})
        assert line.before(gone) == sum(place < gone for place in present)
        line.remove(gone)
        assert list(line) == present
        assert len(line) == len(present)
        if present:
            assert line.first() == present[0]


def test_a_line_through_which_many_pass_keeps_no_trace_of_them() -> None:
    line = Line()
    line.add((0, 0))
    for rank in range(1, 1000):
        line.add((rank, 0))
        line.remove((rank - 1, 0))
    assert list(line) == [(999, 0)]
    assert len(line._places) <= 2
