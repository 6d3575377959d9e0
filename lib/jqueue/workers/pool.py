"""The worker threads: they run the steps of opcodes and nothing else.

How many opcodes may run at once is counted by the scheduler, in slots: a thread whose opcode is parked (paused, ready)
holds no slot, so there can be more threads than slots.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from jqueue.errors import OpExecError
from jqueue.workers.mailbox import Mailbox

T = TypeVar("T")


class Workers(Protocol):
    """What the scheduler needs of a pool."""

    def run(self, step: Callable[[], T]) -> Deferred[T]:
        """Runs a step away from the reactor thread; the result comes back on it."""
        ...

    def stop(self, timeout: float) -> bool:
        """Ends the idle threads and waits for the busy ones; false if one was still busy after `timeout` seconds."""
        ...


_Task = tuple[Callable[[], Any], "Deferred[Any]"]


def perform(step: Callable[[], T]) -> T | Failure:
    """Runs a step and keeps whatever it raises; an opcode that calls `sys.exit` ends itself, not the thread."""
    try:
        return step()
    except Exception:
        return Failure()
    except BaseException as problem:
        return Failure(OpExecError(f"The opcode's code raised {type(problem).__name__}: {safe_str(problem)}"))


class ThreadWorkers:
    """Threads made when they are needed and kept for the next step.

    They are daemonic: an opcode that never returns cannot keep the process from ending.
    """

    def __init__(self, mailbox: Mailbox, keep: int) -> None:
        """Makes a pool without threads.

        @param mailbox: carries results to the reactor thread
        @param keep: how many idle threads are kept at most
        """
        self._mailbox = mailbox
        self._keep = keep
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._made = 0

    def run(self, step: Callable[[], T]) -> Deferred[T]:
        """See `Workers.run`; called on the reactor thread."""
        done: Deferred[T] = Deferred()
        if self._idle:
            self._idle -= 1
        else:
            self._made += 1
            thread = threading.Thread(target=self._work, name=f"worker-{self._made}", daemon=True)
            self._threads.add(thread)
            thread.start()
        self._tasks.put((step, done))
        return done

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            step, done = task
            result = perform(step)
            self._mailbox.post(self._done, done, result)
            # A frame that lives on here would keep the job's objects alive while the thread is idle.
            del task, step, done, result

    def _done(self, done: Deferred[Any], result: Any) -> None:
        if self._idle < self._keep:
            self._idle += 1
        else:
            self._tasks.put(None)
            self._threads = {thread for thread in self._threads if thread.is_alive()}
        done.callback(result)

    def stop(self, timeout: float) -> bool:
        """See `Workers.stop`; nothing may be run afterwards."""
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)


class SteppedWorkers:
    """The twin for tests: steps wait until `perform` runs the oldest, on the caller's thread."""

    def __init__(self) -> None:
        self.steps: list[_Task] = []

    def run(self, step: Callable[[], T]) -> Deferred[T]:
        """Keeps the step for `perform`."""
        done: Deferred[T] = Deferred()
        self.steps.append((step, done))
        return done

    def perform(self) -> None:
        """Runs the oldest step that waits."""
        step, done = self.steps.pop(0)
        done.callback(perform(step))

    def stop(self, timeout: float) -> bool:
        """Tells whether all steps were performed."""
        return not self.steps
