"""The types of the parameters that every opcode has; their list is in `jqueue.opcodes.base`.

What the queue does with them (waiting, retrying) does not live here.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import TypedDict

from jqueue.jobs.status import FINALIZED
from jqueue.opcodes.kinds import Integer, ListOf, Number, OneOf, Text, describe, refuse
from jqueue.opcodes.lockspec import LockSet, normalise

_DIGITS = re.compile(r"-?[0-9]{1,18}\Z", re.ASCII)


class Retry(TypedDict, total=False):
    """How often a failed opcode is tried, and after how long."""

    attempts: int
    delay: float
    factor: float


def check_retries(value: Retry | None) -> str | None:
    """Says what is wrong with a `retries` parameter."""
    if value is None:
        return None
    for name, at_least in (("attempts", 1), ("delay", 0), ("factor", 1)):
        given = value.get(name, at_least)
        if not isinstance(given, (int, float)) or given < at_least:
            return f"{name} must be at least {at_least}, got {describe(given)}"
    return None


class Dependencies:
    """`[[id, [status, ...]], ...]`; a negative id counts back in the submission."""

    name = "list of [job id, [status, ...]]"
    _statuses = ListOf(OneOf(sorted(FINALIZED)))

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (list, tuple))

    def check(self, value: object, path: str) -> list[list[object]]:
        """See `Kind`; ids become ints."""
        if not isinstance(value, (list, tuple)):
            raise refuse(path, f"{self.name} expected, got {describe(value)}")
        return [self._check_one(item, f"{path}[{index}]") for index, item in enumerate(value)]

    def _check_one(self, value: object, path: str) -> list[object]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise refuse(path, f"[job id, [status, ...]] expected, got {describe(value)}")
        job_id, statuses = value
        if isinstance(job_id, str) and _DIGITS.match(job_id):
            job_id = int(job_id)
        number = Integer().check(job_id, f"{path}[0]")
        if number == 0:
            raise refuse(f"{path}[0]", "job ids start at 1; -1 is the job before this one in the submission")
        return [number, [] if statuses is None else self._statuses.check(statuses, f"{path}[1]")]


class ReasonTrail:
    """`[[source, reason, nanoseconds since the epoch], ...]`, as Ganeti's."""

    name = "list of [source, reason, nanoseconds]"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (list, tuple))

    def check(self, value: object, path: str) -> list[list[object]]:
        """See `Kind`."""
        if not isinstance(value, (list, tuple)):
            raise refuse(path, f"{self.name} expected, got {describe(value)}")
        trail: list[list[object]] = []
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if not isinstance(item, (list, tuple)) or len(item) != 3:
                raise refuse(where, f"[source, reason, nanoseconds] expected, got {describe(item)}")
            source, reason, when = item
            trail.append(
                [
                    None if source is None else Text().check(source, f"{where}[0]"),
                    None if reason is None else Text().check(reason, f"{where}[1]"),
                    Integer().check(when, f"{where}[2]"),
                ]
            )
        return trail


class PointInTime:
    """Seconds since the epoch, or ISO 8601 with a zone; becomes seconds."""

    name = "time (seconds since the epoch, or text such as 2030-01-31T04:00:00+01:00)"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, (str, float, int, datetime.datetime)) and not isinstance(value, bool)

    def check(self, value: object, path: str) -> float:
        """See `Kind`."""
        if not self.fits(value):
            raise refuse(path, f"{self.name} expected, got {describe(value)}")
        if isinstance(value, str):
            try:
                # Python 3.10 does not know Z.
                value = datetime.datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", value.strip()))
            except ValueError:
                raise refuse(path, f"{self.name} expected, got {describe(value)}") from None
        if isinstance(value, datetime.datetime):
            if value.tzinfo is None:
                raise refuse(path, f"the time {value} has no zone; add one, such as Z or +01:00")
            return value.timestamp()
        return float(Number().check(value, path))


class Locks:
    """`{level: {name: shared|exclusive|N}}` or `{level: shared|exclusive}`; becomes the normal form."""

    name = "map of lock levels"

    def fits(self, value: object) -> bool:
        """See `Kind`."""
        return isinstance(value, Mapping)

    def check(self, value: object, path: str) -> LockSet:
        """See `Kind`."""
        return normalise(value, path)
