"""What the parts of the scheduler share: one of each, made by the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from jqueue.locks.manager import LockManager
from jqueue.opcodes.registry import Registry
from jqueue.sched.edits import Edits
from jqueue.sched.gates import Gates
from jqueue.sched.ready import ReadyHeap
from jqueue.sched.slots import Slots
from jqueue.sched.table import JobTable


@dataclass(frozen=True)
class Parts:
    """The clocks, the jobs, and what they wait for."""

    clock: IReactorTime
    wall: Callable[[], float]
    """Wall time in seconds."""
    table: JobTable
    edits: Edits
    ready: ReadyHeap
    locks: LockManager
    gates: Gates
    """What a job may have to wait for besides locks."""
    slots: Slots
    registry: Registry
