"""A line of waiters in rank order, and nothing about what they wait for."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

Place = tuple[int, int]
"""(rank, owner): the smaller one is served first, and of equal ranks the smaller owner."""


class Line:
    """Places in order.

    A sorted list, because it knows at once who is first and how many are before somebody, and needs O(log n)
    comparisons for each change. Newcomers mostly go to its end. What leaves at the front is dropped from the list
    when it is half of it, so that a pass from the front does not move all the others each time.
    """

    __slots__ = ("_front", "_places")

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._front = 0

    def __len__(self) -> int:
        return len(self._places) - self._front

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places[self._front :])

    def first(self) -> Place:
        """Who is first.

        @raise IndexError: nobody is there
        """
        return self._places[self._front]

    def add(self, place: Place) -> None:
        """Puts somebody in; once only."""
        insort(self._places, place, self._front)

    def remove(self, place: Place) -> None:
        """Takes somebody out who is in."""
        index = bisect_left(self._places, place, self._front)
        if index > self._front:
            del self._places[index]
            return
        self._front += 1
        if 2 * self._front >= len(self._places):
            del self._places[: self._front]
            self._front = 0

    def before(self, place: Place) -> int:
        """How many are before a place."""
        return bisect_left(self._places, place, self._front) - self._front
