"""Tests of `jqueue.jobs.rows`."""

from __future__ import annotations

from jqueue.jobs.rows import Row, RowStream


def test_a_row_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []

    def row(number: int) -> Row:
        made.append(number)
        return [number]

    rows = RowStream(3, map(row, range(3)))
    assert len(rows) == rows.count == 3
    assert next(iter(rows)) == [0]
    assert made == [0]
    assert list(rows) == [[1], [2]]


def test_changed_rows_are_as_many_and_as_lazy() -> None:
    rows = RowStream(2, iter([[1], [2]])).map(lambda row: [row[0] * 10, "x"])
    assert len(rows) == 2
    assert list(rows) == [[10, "x"], [20, "x"]]
