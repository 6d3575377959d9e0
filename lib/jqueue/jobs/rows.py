"""A table of results that is made row by row while it is sent.

How rows are cut into slices and packed does not live here, see `jqueue.rpc`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Row = list[Any]


class RowStream:
    """Rows whose number is known before they are made; they can be walked once."""

    __slots__ = ("_rows", "count")

    def __init__(self, count: int, rows: Iterable[Row]) -> None:
        """Makes the stream.

        @param count: how many rows there are
        @param rows: gives exactly that many; each is made only when it is asked for
        """
        self.count = count
        self._rows = iter(rows)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def map(self, change: Callable[[Row], Row]) -> RowStream:
        """Gives the stream of the changed rows; this one must not be walked any more."""
        return RowStream(self.count, map(change, self._rows))
