"""Following jobs as they go: every change and every log line exactly once, also across a restart of the daemon.

What the events look like to the user does not live here, see `view`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jqueue import errors
from jqueue.cli.results import is_final, lost, query
from jqueue.cli.stages import needs
from jqueue.cli.terminal import Connection, Terminal
from jqueue.cli.words import reason_lines
from jqueue.jobs import lifecycle, status

_LISTED = ("id", "name", "status", "lifecycle", "priority", "summary", "start_ts", "end_ts")
FIELDS = (*_LISTED, "opstatus", "opresult")
_NEEDS = ("id", "lifecycle", "phase", "completion", "members")
_UNFINISHED = ["|", *(["==", "status", name] for name in status.ALL if name not in status.FINALIZED)]
PAGE = 500
"""Log entries asked for at once."""
_TICK = 0.5
_IDLE = 60.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_LAST_STEPS = 0.2
"""Seconds without a step after which those of the last job are thought to be over."""


@dataclass(frozen=True)
class Change:
    """A job is in another state than was told before.

    `job` has the keys of the daemon's JobChanged; `reasons` say what it waits for, when that was asked for; `needs` is
    the verb that it waits for from its user, who gives it to all `members` of its group.
    """

    job: dict[str, Any]
    reasons: tuple[str, ...] = ()
    needs: str | None = None
    members: list[int] | None = None


@dataclass(frozen=True)
class Line:
    """A log entry: opcode index, serial, time, type, message."""

    job_id: int
    entry: list[Any]


@dataclass(frozen=True)
class Tick:
    """How far the unfinished jobs are, `[done, total, text]` or None; comes twice a second when asked for.

    `limits` are their speed limits, 0 for none.
    """

    progress: dict[int, list[Any] | None]
    limits: dict[int, int]


@dataclass(frozen=True)
class Step:
    """A job has taken a step of its lifecycle: event, data and id (None for what is about all) in QEMU's words."""

    event: dict[str, Any]


Event = Change | Line | Tick | Step


class Follower:
    """Gives the events of some jobs, or of all, until the last of them has ended."""

    def __init__(
        self,
        terminal: Terminal,
        ids: Sequence[int] | None,
        *,
        logs: dict[int, int] | None = None,
        progress: bool = False,
        explain: bool = False,
        steps: bool = False,
        deadline: float | None = None,
    ) -> None:
        """Makes it.

        @param ids: the jobs; None for all, which never ends
        @param logs: whose log lines to give, and the serial after which they begin
        @param progress: whether `Tick` events are wanted
        @param explain: whether to ask what a waiting job waits for, the first time it does
        @param steps: whether `Step` events are wanted
        @param deadline: when to give up, on the terminal's monotonic clock, in seconds
        """
        self._terminal = terminal
        self._ids = ids
        self._serials = dict(logs or {})
        self._deadline = deadline
        self._progress = progress
        self._unexplained = set(ids or ()) if explain else set()
        self._steps = steps
        self._shown: dict[int, tuple[object, ...]] = {}
        self._ended: set[int] | None = None
        self._unfinished = dict.fromkeys(ids or ())
        self._connected = terminal.was_connected
        self._pause = _FIRST_PAUSE
        self._next_tick = 0.0

    @property
    def unfinished(self) -> list[int]:
        """The jobs among those asked for that have not ended."""
        return list(self._unfinished)

    def events(self) -> Iterator[Event]:
        """Gives the events as they come; first the state that each job is in.

        @raise errors.DaemonUnreachable: if the daemon has never answered; one that goes away is waited for
        @raise errors.JobLost: if there is no such job
        @raise errors.WaitTimeout: when the deadline has passed
        """
        while True:
            try:
                connection = self._terminal.connection()
                connection.call("Subscribe", self._wanted())
                self._found()
                yield from self._catch_up(connection)
                while self._ids is None or self._unfinished:
                    yield from self._listen(connection)
                return
            except (errors.DaemonUnreachable, errors.ShuttingDown):
                self._terminal.disconnect()
                if not self._connected:
                    raise
                self._wait_for_daemon()

    def _wanted(self) -> dict[str, object]:
        wanted: dict[str, object] = {
            "jobs": None if self._ids is None else list(self._ids),
            "changes": True,
            "log": bool(self._serials),
        }
        return {**wanted, "lifecycle": True} if self._steps else wanted

    def _catch_up(self, connection: Connection) -> Iterator[Event]:
        """Asks for what happened while nobody told us."""
        for job in self._all_news(connection) if self._ids is None else query(connection, self._ids, FIELDS):
            if job["status"] is None:
                raise lost(job["id"])
            yield from self._changed(connection, job)
        for job_id in self._serials:
            yield from self._read_log(connection, job_id)

    def _all_news(self, connection: Connection) -> list[dict[str, Any]]:
        """Asks for the jobs that are unfinished, or have ended since the last time; results only of failed ones.

        The results of thousands that ended well, or long ago, would be read from the disk, and nobody sees them.
        """
        old, known = self._ended, query(connection, None, ("id", "status"))
        self._ended = {job["id"] for job in known if is_final(job["status"])}
        found = query(connection, None, FIELDS, _UNFINISHED)
        if old is not None:
            new = [job for job in known if job["id"] in self._ended - old]
            failed = [job["id"] for job in new if job["status"] == "error"]
            others = [job["id"] for job in new if job["status"] != "error"]
            found += query(connection, failed, FIELDS) if failed else []
            found += query(connection, others, _LISTED) if others else []
        return [job for job in found if job["status"] is not None]

    def _listen(self, connection: Connection) -> Iterator[Event]:
        """Gives what the daemon tells until it is silent, or all have ended."""
        for name, parameters in connection.notifications(self._patience()):
            if name == "JobChanged":
                yield from self._changed(connection, parameters[0])
            elif name == "JobLog":
                yield from self._new_lines(parameters[0], parameters[1])
            elif name == "JobLifecycle":
                yield Step(parameters[0])
            if self._ids is not None and not self._unfinished:
                yield from self._last_steps(connection)
                return
            yield from self._tick(connection)
        yield from self._tick(connection)

    def _last_steps(self, connection: Connection) -> Iterator[Event]:
        """Gives the steps that come behind the end of a job: it may be dismissed by itself."""
        if self._steps:
            for name, parameters in connection.notifications(_LAST_STEPS):
                if name == "JobLifecycle":
                    yield Step(parameters[0])

    def _tick(self, connection: Connection) -> Iterator[Event]:
        self._check_deadline()
        if self._progress and self._terminal.clock.monotonic() >= self._next_tick:
            rows = query(connection, self.unfinished, ("id", "progress", "speed"))
            yield Tick({row["id"]: row["progress"] for row in rows}, {row["id"]: row["speed"] or 0 for row in rows})
            self._next_tick = self._terminal.clock.monotonic() + _TICK

    def _changed(self, connection: Connection, job: dict[str, Any]) -> Iterator[Event]:
        job_id = job["id"]
        if self._shown.get(job_id) == _state(job):
            return
        if is_final(job["status"]) and job_id in self._serials:
            yield from self._read_log(connection, job_id)
        change = self._explained(connection, job)
        # Noted only now: had the daemon gone away meanwhile, it would have to be told when it is back.
        self._shown[job_id] = _state(job)
        if is_final(job["status"]):
            self._unfinished.pop(job_id, None)
        yield change

    def _explained(self, connection: Connection, job: dict[str, Any]) -> Change:
        """Asks for what an event does not tell: what a job waits for, from others or from its user."""
        reasons = self._reasons(connection, job)
        if job.get("lifecycle") not in (lifecycle.READY, lifecycle.PENDING):
            return Change(job, reasons)
        (now,) = query(connection, [job["id"]], _NEEDS)
        return Change(job, reasons, needs(now), now["members"])

    def _reasons(self, connection: Connection, job: dict[str, Any]) -> tuple[str, ...]:
        if job["status"] != "waiting" or job["id"] not in self._unexplained:
            return ()
        reasons = connection.call("ExplainJob", job["id"])["reasons"]
        self._unexplained.discard(job["id"])
        return tuple(line for reason in reasons for line in reason_lines(reason))

    def _new_lines(self, job_id: int, entries: list[list[Any]]) -> Iterator[Event]:
        for entry in entries:
            if job_id in self._serials and entry[1] > self._serials[job_id]:
                self._serials[job_id] = entry[1]
                yield Line(job_id, entry)

    def _read_log(self, connection: Connection, job_id: int) -> Iterator[Event]:
        for entry in log_pages(connection, job_id, self._serials[job_id]):
            self._serials[job_id] = entry[1]
            yield Line(job_id, entry)

    def _patience(self) -> float:
        """How long to listen, in seconds."""
        now = self._terminal.clock.monotonic()
        self._terminal.flush()
        if self._progress:
            self._next_tick = self._next_tick or now
        else:
            self._next_tick = now + _IDLE
        limit = min(self._next_tick, self._deadline) if self._deadline is not None else self._next_tick
        return max(limit - now, 0.0)

    def _found(self) -> None:
        if self._pause > _FIRST_PAUSE:
            self._terminal.say("the daemon is back")
        self._connected = True
        self._pause = _FIRST_PAUSE

    def _wait_for_daemon(self) -> None:
        if self._pause == _FIRST_PAUSE:
            self._terminal.say("the daemon is gone; going on when it is back")
        self._check_deadline()
        self._terminal.clock.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _check_deadline(self) -> None:
        if self._deadline is not None and self._terminal.clock.monotonic() >= self._deadline:
            jobs = ", ".join(map(str, self.unfinished[:5])) + (", ..." if len(self._unfinished) > 5 else "")
            raise errors.WaitTimeout(f"the time to wait is over; still unfinished: {jobs}; `jqueue why ID` says why")


def log_pages(connection: Connection, job_id: int, newer_than: int) -> Iterator[list[Any]]:
    """Gives the log entries of a job that are newer than a serial, oldest first, read page by page."""
    while True:
        page = connection.call("QueryJobLog", job_id, newer_than, PAGE)
        yield from page
        if len(page) == 0:
            return
        newer_than = page[-1][1]


def _state(job: dict[str, Any]) -> tuple[object, ...]:
    opstatus = () if is_final(job["status"]) else tuple(job.get("opstatus") or ())
    return job["status"], job.get("lifecycle"), job["priority"], opstatus
