"""Twins, in memory and without threads, of what surrounds the queue; the journal has one in the library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jqueue.errors import StateError
from jqueue.events.joblog import Entry
from jqueue.jobs.job import Queue as Host
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import unpack
from jqueue.store.interface import Loaded
from jqueue.store.jobfile import Source
from jqueue.turns import Turns
from jqueue.workers.context import Context
from jqueue.workers.pool import SteppedWorkers

T = TypeVar("T")


class Parked(BaseException):
    """The code would wait here for a resume; the step is performed anew then."""


class NoWait(threading.Condition):
    """Says that the thread would have to wait."""

    def __init__(self, parks: Callable[[], None]) -> None:
        """Makes it.

        @param parks: called before that
        """
        super().__init__()
        self._parks = parks

    def wait(self, timeout: float | None = None) -> bool:
        self._parks()
        raise Parked


class Steps(SteppedWorkers):
    """Steps that stop at a pause point wait until they may go on; any of them may be performed next."""

    def perform(self, index: int = 0) -> None:
        task = step, done = self.steps.pop(index)
        try:
            result: object = step()
        except Parked:
            self.steps.insert(index, task)
            return
        except Exception:
            result = Failure()
        done.callback(result)


class SteppedContext(Context):
    """Never waits: what an answer needs happens at once. Code that parks begins anew, but says nothing twice."""

    sync: Callable[[], None]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._said: list[Any] = []
        self._to_repeat: list[Any] = []

    def log(self, message: Any, type: str = "message") -> None:
        if message in self._to_repeat:
            self._to_repeat.remove(message)
            return
        self._said.append(message)
        super().log(message, type)

    def begin_anew(self) -> None:
        self._to_repeat = list(self._said)

    def _ask(self, function: Callable[..., Deferred[T]], *arguments: Any) -> T:
        def asked(*arguments: Any) -> Deferred[T]:
            answer = function(*arguments)
            self.sync()
            return answer

        return super()._ask(asked, *arguments)

    def checkpoint(self) -> None:
        if not self._control._may_go_on and not self._control.stop_requested:
            self.begin_anew()
            raise Parked
        super().checkpoint()


class Disk:
    """What is left when the daemon dies: job files, logs, archive, and the twins of what writes them."""

    pending = 0
    lag = 0.0

    def __init__(self) -> None:
        self.files: dict[int, Source] = {}
        self.archived: dict[int, Source] = {}
        self.logs: dict[int, list[Entry]] = {}
        self.gone: set[int] = set()
        self.slow = False
        self.asked: list[tuple[Deferred[Loaded], Loaded]] = []
        self.unreadable: dict[int, StateError] = {}
        self.retries = 0

    # Job files

    def changed(self, job_id: int, source: Source) -> None:
        self.files[job_id] = source

    def missing(self, job_ids: Iterable[int]) -> Deferred[list[int]]:
        return succeed([job_id for job_id in job_ids if job_id not in self.files])

    # History

    def load(self, job_ids: Iterable[int], queue: Host | None = None) -> Deferred[Loaded]:
        """Answers at once, or if `slow` when `answer` is called."""
        found: Loaded = {}
        for job_id in job_ids:
            if job_id in self.unreadable:
                found[job_id] = self.unreadable[job_id]
            elif job_id in self.files:
                found[job_id] = _read(queue, job_id, self.files[job_id], archived=False)
            elif job_id in self.archived:
                found[job_id] = _read(queue, job_id, self.archived[job_id], archived=True)
        if not self.slow:
            return succeed(found)
        done: Deferred[Loaded] = Deferred()
        self.asked.append((done, found))
        return done

    def answer(self) -> None:
        asked, self.asked = self.asked, []
        for done, found in asked:
            done.callback(found)

    def look_up(self, function: Callable[[], T]) -> Deferred[T]:
        return execute(function)

    def archived_ids(self) -> Deferred[list[int]]:
        return succeed(sorted(self.archived))

    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        return succeed([entry for entry in self.logs.get(job_id, []) if entry[1] > newer_than][:limit])

    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]:
        return succeed(self.logs.get(job_id, [])[-count:])

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        for job_id, rows in entries.items():
            self.logs.setdefault(job_id, []).extend(rows)
        return succeed(None)

    def repair_log(self, job_id: int) -> Deferred[int]:
        return succeed(max((entry[1] for entry in self.logs.get(job_id, [])), default=0))

    def archive(self, jobs: Iterable[tuple[int, Source | None]]) -> Deferred[None]:
        for job_id, source in jobs:
            old = self.files.pop(job_id, None)
            source = source or old
            if source is not None:
                self.archived[job_id] = source
        return succeed(None)

    def retry(self) -> Deferred[None]:
        self.retries += 1
        return succeed(None)

    def is_archived(self, job_id: int) -> Deferred[bool | None]:
        return succeed(False if job_id in self.files else True if job_id in self.archived else None)

    def forget(self, job_id: int) -> Deferred[None]:
        self.files.pop(job_id, None)
        self.logs.pop(job_id, None)
        self.gone.add(job_id)
        return succeed(None)

    def remove_run_directory(self, job_id: int, op_index: int, attempt: int) -> Deferred[None]:
        return succeed(None)


def _read(queue: Host | None, job_id: int, source: Source, *, archived: bool) -> _QueuedJob:
    if isinstance(source, bytes):
        source = unpack(queue, job_id, source)
    elif not isinstance(source, _QueuedJob):
        source = source()
    return _QueuedJob.Restore(queue, source.Serialize(), writable=False, archived=archived)


class HeldTurns(Turns):
    """Long work goes on step by step, when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.waiting: list[Iterator[None]] = []

    def add(self, steps: Iterator[None]) -> None:
        self.waiting.append(steps)

    def take(self) -> None:
        """Takes one step of the oldest work."""
        if self.waiting and not self._step(self.waiting[0]):
            del self.waiting[0]


class MemoryDrain:
    """`control/drained`."""

    def __init__(self) -> None:
        self.drained: str | None = None

    def set(self, reason: str | None) -> Deferred[None]:
        self.drained = reason
        return succeed(None)
