"""The ready heap: who is next.

Whether a job that comes out of it can really start is for the processor to find out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice

_COUNTED = 10_000


class ReadyHeap:
    """Job ids by rank.

    Nothing is ever taken out of the middle: a job that got another rank, or was cancelled, leaves its old entry behind,
    and the caller drops it when it comes out (it compares the rank, see `pop`).
    """

    def __init__(self, age_step: int) -> None:
        """Makes an empty heap.

        @param age_step: how many later submissions one step of priority is worth
        """
        self._age_step = age_step
        self._entries: list[tuple[int, int]] = []

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

    def place(self, job_id: int, priority: int) -> int | None:
        """How many entries, stale ones too, are before a job; None if they are too many to count while others wait."""
        own = (self.rank(job_id, priority), job_id)
        before = 0
        for entry in self._ascending():
            if entry >= own:
                return before
            before += 1
            if before > _COUNTED:
                return None
        return before

    def first(self, count: int) -> list[int]:
        """The ids of the first entries, which may be stale."""
        return [job_id for _rank, job_id in islice(self._ascending(), count)]

    def _ascending(self) -> Iterator[tuple[int, int]]:
        # Walks down the heap only as far as it is asked for; the heap itself stays as it is.
        open_positions = [(self._entries[0], 0)] if self._entries else []
        while open_positions:
            entry, position = heapq.heappop(open_positions)
            yield entry
            for child in (2 * position + 1, 2 * position + 2):
                if child < len(self._entries):
                    heapq.heappush(open_positions, (self._entries[child], child))

    def __len__(self) -> int:
        return len(self._entries)
