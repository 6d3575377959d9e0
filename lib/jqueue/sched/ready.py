"""The ready heap: who is next.

Whether a job that comes out of it can really start is for the processor to find out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

_LOOKED_AT = 10_000
_SWEPT = 4

InLine = Callable[[int, int], bool]
"""Whether an entry, given as rank and job id, is not stale."""


def _always(_rank: int, _job_id: int) -> bool:
    return True


class ReadyHeap:
    """Job ids by rank.

    A job that got another rank, or was cancelled, leaves its old entry behind, because nobody knows where it is.
    Stale entries are dropped by the caller when they come out, or by `sweep` on its way through the heap.
    """

    def __init__(self, age_step: int) -> None:
        """Makes an empty heap.

        @param age_step: how many later submissions one step of priority is worth
        """
        self._age_step = age_step
        self._entries: list[tuple[int, int]] = []
        self._swept = 0

    def rank(self, job_id: int, priority: int) -> int:
        """The static rank of a job; the smaller one goes first."""
        return job_id + priority * self._age_step

    def push(self, job_id: int, priority: int) -> None:
        """Adds a job."""
        heapq.heappush(self._entries, (self.rank(job_id, priority), job_id))

    def extend(self, jobs: Iterable[tuple[int, int]]) -> None:
        """Adds many jobs at once.

        @param jobs: (job id, priority) each
        """
        self._entries.extend((self.rank(job_id, priority), job_id) for job_id, priority in jobs)
        heapq.heapify(self._entries)

    def pop(self) -> tuple[int, int]:
        """Takes the first entry out.

        @return: (rank, job id)
        @raise IndexError: there is none
        """
        return heapq.heappop(self._entries)

    def sweep(self, in_line: InLine) -> None:
        """Looks at a few entries, further on with each call, and drops the stale ones.

        Called whenever an entry becomes stale, it keeps their number below about that of the others, at no cost that
        grows with the heap.
        """
        for _ in range(_SWEPT):
            if not self._entries:
                return
            position = self._swept % len(self._entries)
            if in_line(*self._entries[position]):
                self._swept = position + 1
            else:
                self._remove(position)

    def _remove(self, position: int) -> None:
        entries = self._entries
        moved = entries.pop()
        if position == len(entries):
            return
        while position and moved < entries[parent := (position - 1) // 2]:
            entries[position] = entries[parent]
            position = parent
        while (child := 2 * position + 1) < len(entries):
            child += child + 1 < len(entries) and entries[child + 1] < entries[child]
            if moved < entries[child]:
                break
            entries[position] = entries[child]
            position = child
        entries[position] = moved

    def place(self, job_id: int, priority: int, in_line: InLine = _always) -> int | None:
        """How many jobs are before a job; None if they are too many to count while others wait."""
        own = (self.rank(job_id, priority), job_id)
        before = 0
        for looked_at, entry in enumerate(self._ascending()):
            if entry >= own:
                return before
            if looked_at == _LOOKED_AT:
                return None
            before += in_line(*entry)
        return before

    def first(self, count: int, in_line: InLine = _always) -> list[int]:
        """The ids of the first jobs; fewer if there are very many stale entries before them."""
        found: list[int] = []
        for looked_at, (rank, job_id) in enumerate(self._ascending()):
            if len(found) == count or looked_at == _LOOKED_AT:
                break
            if in_line(rank, job_id):
                found.append(job_id)
        return found

    def _ascending(self) -> Iterator[tuple[int, int]]:
        # Walks down the heap only as far as it is asked for; the heap itself stays as it is.
        # A job that came back to a rank it had before may be there twice.
        open_positions = [(self._entries[0], 0)] if self._entries else []
        last = None
        while open_positions:
            entry, position = heapq.heappop(open_positions)
            if entry != last:
                yield entry
            last = entry
            for child in (2 * position + 1, 2 * position + 2):
                if child < len(self._entries):
                    heapq.heappush(open_positions, (self._entries[child], child))

    def __len__(self) -> int:
        return len(self._entries)
