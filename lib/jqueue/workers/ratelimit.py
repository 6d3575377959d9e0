"""A speed limit: how long to rest after a piece of work.

Time is cut into slices. Work is done first and paid for afterwards: a piece larger than what a slice allows
stretches its slice. Who rests, and what may interrupt that, does not live here.
"""

from __future__ import annotations

from collections.abc import Callable

SLICE = 0.1
"""Seconds."""


class RateLimit:
    """The account of one worker."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Makes one without a limit.

        @param clock: seconds that never go backwards
        """
        self._clock = clock
        self._speed = 0
        self._slice_start = 0.0
        self._slice_end = 0.0
        self._done = 0

    def set_speed(self, speed: int) -> None:
        """Sets the limit; work already done in this slice is paid for at the new one.

        @param speed: units a second; 0 is no limit
        """
        self._speed = speed

    def delay(self, n: int) -> float:
        """Adds work to the account.

        @param n: units done since the last call; 0 asks again, after a rest that was cut short or a new speed
        @return: seconds to rest before the next piece
        """
        if not self._speed:
            return 0.0
        now = self._clock()
        if now >= self._slice_end:
            self._slice_start, self._slice_end, self._done = now, now + SLICE, 0
        self._done += n
        quota = max(self._speed * SLICE, 1.0)
        if self._done < quota:
            return 0.0
        self._slice_end = self._slice_start + self._done / quota * SLICE
        return max(self._slice_end - now, 0.0)
