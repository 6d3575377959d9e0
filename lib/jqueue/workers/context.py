"""What an opcode sees of the queue while it runs.

Every call is a message to the reactor thread, or a wait for its answer; no queue state is reached from here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from jqueue.errors import JobCanceled, ProgrammerError, ShuttingDown
from jqueue.jobs.storable import storable
from jqueue.workers.command import run_command
from jqueue.workers.control import SHUTDOWN, Control
from jqueue.workers.mailbox import Mailbox
from jqueue.workers.output import MAX_LINE, pieces
from jqueue.workers.ratelimit import RateLimit

T = TypeVar("T")

_UNWRITTEN_LOG_LINES = 200  # a faster opcode waits until the log file has caught up
_PROGRESS_INTERVAL = 0.1
_ANSWER_INTERVAL = 1.0  # seconds between two looks whether an answer can still come
_MAX_SAVED = 64 << 10  # bytes of what an opcode saves: each assignment writes all of it to the journal

LogLine = tuple[float, str, Any]
"""Wall time in seconds, type, message."""


class Desk(Protocol):
    """Who takes the messages of one running opcode, on the reactor thread."""

    def logged(self, lines: Sequence[LogLine]) -> object:
        """Takes log lines; `Context.log_written` tells the opcode when they are in the file."""
        ...

    def progressed(self, done: int, total: int, text: str) -> None:
        """Takes how far the opcode is."""
        ...

    def save(self, saved: Mapping[str, Any]) -> Deferred[None]:
        """Makes the opcode's own state durable."""
        ...

    def submit(self, jobs: Sequence[object]) -> Deferred[list[int]]:
        """Submits children."""
        ...


class Saved(MutableMapping[str, Any]):
    """A small dict that is durable when an assignment returns."""

    def __init__(self, values: Mapping[str, Any], store: Callable[[Mapping[str, Any]], None]) -> None:
        """Makes one.

        @param values: what was saved before
        @param store: makes a state durable; returns when it is
        """
        self._values = deepcopy(dict(values))
        self._store = store

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        changed = {**self._values, key: value}
        self._store(changed)
        self._values = changed

    def __delitem__(self, key: str) -> None:
        changed = {name: value for name, value in self._values.items() if name != key}
        if len(changed) == len(self._values):
            raise KeyError(key)
        self._store(changed)
        self._values = changed

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Context:
    """The `ctx` of one attempt at one opcode; see `jqueue.opcodes.base.OpContext` for the author's view."""

    def __init__(
        self,
        *,
        job_id: int,
        op_index: int,
        attempt: int,
        saved: Mapping[str, Any],
        dry_run: bool,
        run_directory: Callable[[], Path],
        control: Control,
        desk: Desk,
        mailbox: Mailbox,
        command_user: str | None = None,
        kill_after: float = 5.0,
        converges: bool = True,
    ) -> None:
        """Makes the context.

        @param run_directory: tells where a command's output and exit record go; made when one runs
        @param command_user: the user commands run as; the daemon's own without one
        @param kill_after: seconds between TERM and KILL
        @param converges: whether the opcode has said that it does
        """
        self.job_id = job_id
        self.op_index = op_index
        self.attempt = attempt
        self.dry_run = dry_run
        self._run_directory = run_directory
        self.saved: MutableMapping[str, Any] = Saved(saved, self._save)
        self.ran_command = False
        """Whether there may be something in the run directory."""
        self._control = control
        self._desk = desk
        self._mailbox = mailbox
        self._command_user = command_user
        self._kill_after = kill_after
        self._converges = converges
        self._progressed_at = 0.0
        self._progress_ended = False
        self._untold: tuple[int, int, str] | None = None
        """The latest progress, if it came too soon after the one before."""

    # Made when they are needed: most opcodes are short and need none of them.

    @cached_property
    def run_directory(self) -> Path:
        """Where a command's output and exit record go."""
        return self._run_directory()

    @cached_property
    def _limit(self) -> RateLimit:
        return RateLimit(time.monotonic)

    @cached_property
    def _room(self) -> threading.BoundedSemaphore:
        return threading.BoundedSemaphore(_UNWRITTEN_LOG_LINES)

    def log(self, message: Any, type: str = "message") -> None:
        """Writes an entry to the job's log, several for what is longer than 64 KiB.

        @param message: text; another JSON value for types that define one; of anything else its text is logged
        @param type: Ganeti's log type
        """
        for part in _loggable(message):
            self._room.acquire()
            self._mailbox.post(self._desk.logged, [(time.time(), str(type), part)])

    def log_written(self, count: int) -> None:
        """Tells that lines have reached the file; called on the reactor thread."""
        self._room.release(count)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Says how far the opcode is; only shown, never used to decide anything.

        @param done: units of work done
        @param total: units in all; 0 counts as 1, so that nothing looks finished at its start
        @param text: what is being done
        """
        now = time.monotonic()
        ended = done >= total > 0
        if (ended and not self._progress_ended) or now - self._progressed_at >= _PROGRESS_INTERVAL:
            self._progressed_at, self._progress_ended = now, ended
            self._untold = None
            self._mailbox.post(self._desk.progressed, done, max(total, 1), text)
        else:
            self._untold = done, max(total, 1), text

    def checkpoint(self) -> None:
        """A pause point: stays here while the job is paused.

        @raise JobCanceled: the opcode is to stop now
        """
        self._control.wait_pause()
        if self._control.stop_requested:
            raise JobCanceled(f"The opcode was asked to stop ({self._control.stop_reason})")

    def throttle(self, n: int) -> None:
        """Pays for `n` units (bytes) of work under the job's speed limit; a checkpoint as well."""
        self.checkpoint()
        while (rest := self._rest(n)) > 0:
            self._control.sleep(rest)
            self.checkpoint()
            n = 0

    def _rest(self, n: int) -> float:
        # Asked again whenever a rest is cut short: the speed may be another one by now.
        self._limit.set_speed(self._control.speed)
        return self._limit.delay(n)

    def sleep(self, seconds: float) -> None:
        """Sleeps; the time of a pause does not count, a stop request ends the sleep at once.

        @raise JobCanceled: the opcode is to stop now
        """
        self.checkpoint()
        while seconds > 0:
            began = time.monotonic()
            self._control.sleep(seconds)
            seconds -= time.monotonic() - began
            self.checkpoint()

    def ready(self, seconds: float | None = None, descriptor: int | None = None) -> str | None:
        """Says that the work has converged, and stays here until told to come to its end; a pause point.

        The first call makes the job ready: it gives up its worker and keeps its locks.

        @param seconds: come back after that long, to keep up with the world
        @param descriptor: come back when that becomes readable
        @return: `COMPLETE` or `LEAVE`; None to keep up, and call again
        @raise JobCanceled: the opcode is to stop now
        @raise ProgrammerError: it has not said that it converges
        """
        if not self._converges:
            raise ProgrammerError(
                "the opcode calls ctx.ready, so its method converges must return true; its author can add it"
            )
        if self._untold is not None:
            # It may be the last for long.
            self._mailbox.post(self._desk.progressed, *self._untold)
            self._untold = None
        told = self._control.wait_told(seconds, descriptor)
        self.checkpoint()
        return told

    def submit(self, jobs: Sequence[object]) -> list[int]:
        """Submits children; asked again by a re-run of this opcode, it gives the same ids.

        @param jobs: each a list of opcode maps, or a description map
        @return: their ids, durable
        """
        return self._ask(self._desk.submit, jobs)

    def command(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> int:
        """Runs a command in a process group of its own; its output becomes log lines as it comes.

        @return: its exit status, `-N` when signal N ended it
        @raise JobCanceled: the opcode was to stop; nothing of the process group is left
        """
        self.checkpoint()
        self.ran_command = True
        return run_command(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            run_directory=self.run_directory,
            user=self._command_user,
            kill_after=self._kill_after,
            control=self._control,
            log=self.log,
        )

    def _save(self, values: Mapping[str, Any]) -> None:
        self._ask(self._desk.save, storable(values, _MAX_SAVED, "What the opcode saves"))

    def _ask(self, function: Callable[..., Deferred[T]], *arguments: Any) -> T:
        answered = threading.Event()
        answers: list[T] = []
        problems: list[BaseException] = []

        def call() -> None:
            done = maybeDeferred(function, *arguments).addCallbacks(
                answers.append, lambda failure: problems.append(failure.value)
            )
            done.addBoth(lambda _: answered.set())

        self._mailbox.post(call)
        # A daemon that stops answers nothing more; the thread must not wait for it for ever.
        while not answered.wait(_ANSWER_INTERVAL):
            if self._control.stop_reason == SHUTDOWN:
                raise ShuttingDown()
        if problems:
            raise problems[0]
        return answers[0]


def _loggable(message: Any) -> Iterable[Any]:
    """@return: a message as log entries can hold it; a copy, because its maker may go on changing it"""
    if isinstance(message, str) and len(message) * 4 <= MAX_LINE:
        return [message]
    if not isinstance(message, str):
        try:
            text = json.dumps(message, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = str(message)
        else:
            if len(text) <= MAX_LINE:
                return [json.loads(text)]
        message = text
    return pieces(message.encode("utf-8", "backslashreplace"))
