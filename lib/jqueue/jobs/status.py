"""The status of opcodes and jobs, in Ganeti's words, and how a job's status and priority follow from its opcodes.

The other vocabulary for the same job, QEMU's, lives in `jqueue.jobs.lifecycle`; the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

QUEUED: Final = "queued"
WAITING: Final = "waiting"
CANCELING: Final = "canceling"
RUNNING: Final = "running"
CANCELED: Final = "canceled"
SUCCESS: Final = "success"
ERROR: Final = "error"

ALL: Final[tuple[str, ...]] = (QUEUED, WAITING, CANCELING, RUNNING, CANCELED, SUCCESS, ERROR)
"""In the order in which a job goes through them; packed jobs store the index, so only ever append."""

FINALIZED: Final = frozenset((CANCELED, SUCCESS, ERROR))
PENDING: Final = frozenset((QUEUED, WAITING, CANCELING))

PRIORITY_MIN: Final = -20
PRIORITY_MAX: Final = 19
PRIORITY_DEFAULT: Final = 0
SUBMITTABLE_PRIORITIES: Final[tuple[int, ...]] = (-10, 0, 10)

_STOPPERS: Final = frozenset((CANCELING, ERROR, CANCELED))


def calc_status(statuses: Iterable[str]) -> str:
    """Computes a job's status.

    A job between two opcodes is queued again, so that priorities count there too.

    @param statuses: the opcodes' statuses, in order
    @return: the job's status; success if there is no opcode
    """
    result = QUEUED
    all_success = True
    for status in statuses:
        if status == SUCCESS:
            continue
        all_success = False
        if status in _STOPPERS:
            return status
        if status != QUEUED:
            result = status
    return SUCCESS if all_success else result


def calc_priority(opcodes: Iterable[tuple[str, int]]) -> int:
    """Computes a job's priority: that of its most urgent unfinished opcode.

    @param opcodes: status and priority of each opcode
    @return: the smallest priority (the lower, the more urgent), the default one if all opcodes are final
    """
    return min((priority for status, priority in opcodes if status not in FINALIZED), default=PRIORITY_DEFAULT)
