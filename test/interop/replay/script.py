"""From a recording to what the player does, step by step, and what it must have heard before each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import story
from .differences import Difference
from .equivalent import Course, course, is_set_up
from .recording import CREATING, NO_BLOCK_JOBS, TRANSACTION, Exchange, Job, Recording
from .rows import Row
from .story import Heard

_CANCELED = tuple(story.Event(name) for name in ("aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"))
_FAILED = (story.Event("aborting"), story.Event("BLOCK_JOB_COMPLETED", "some error"), story.Event("concluded"))


@dataclass(frozen=True)
class Connect:
    """A client connects, and is greeted; when it is, see `Difference.ONE_CLIENT`."""

    row: int
    conn: str


@dataclass(frozen=True)
class Send:
    """A client sends something."""

    row: int
    exchange: Exchange


@dataclass(frozen=True)
class Reply:
    """A client is answered."""

    row: int
    exchange: Exchange
    recorded: Row
    judged: bool = True
    """Whether it has to be the same answer; any will do after QEMU has crashed."""


@dataclass(frozen=True)
class Release:
    """A job that was held leaves `running` by itself."""

    row: int
    job: Job


@dataclass(frozen=True)
class PauseForError:
    """QEMU paused a job because of an I/O error, see `Difference.IO_ERRORS`."""

    row: int
    job: Job


@dataclass(frozen=True)
class Leave:
    """A client closes its connection."""

    row: int
    conn: str


@dataclass(frozen=True)
class Ended:
    """The connection of a client is closed by the other side."""

    row: int
    conn: str


@dataclass(frozen=True)
class Signal:
    """The process is ended by a signal."""

    row: int


@dataclass(frozen=True)
class Exit:
    """The process has ended."""

    row: int
    status: int


Step = Connect | Send | Reply | Release | PauseForError | Leave | Ended | Signal | Exit


class Script:
    """A recording as steps."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.courses: Mapping[Job, Course] = {job: course(recording, job) for job in recording.jobs}
        self.left_out: dict[Exchange, Difference] = {}
        """Exchanges that do not take place, and why."""
        for exchange in recording.exchanges:
            reason = _left_out(exchange)
            if reason is not None:
                self.left_out[exchange] = reason
        self.steps = self._steps()

    def expected(self, job: Job, conn: str) -> list[Heard]:
        """Says what a client is to hear of a job, or of the daemon; each with the row from which on."""
        recording = self.recording
        if job is recording.server:
            return [] if recording.crashed else job.heard.get(conn, [])
        if job.refused:
            return []  # Difference.REFUSED_SUBMISSION
        heard = job.story(conn)
        before = [each for each in heard if each.when < recording.end]
        rest = [each for each in heard if each.when > recording.end]
        if recording.crashed:  # Difference.CRASH
            return before + [Heard(rest[0].when, event) for event in _FAILED if rest]
        if recording.signal != story.NEVER:  # Difference.SIGNAL
            return before
        if rest and rest[0].event.name == "waiting":  # Difference.LAST_IO
            return before + [Heard(rest[0].when, event) for event in _CANCELED]
        return heard

    def _steps(self) -> list[Step]:
        steps = [step for row in self.recording.rows for step in self._steps_of(row)]
        steps += [Release(each.leaves, job) for job, each in self.courses.items() if self._is_released(job)]
        steps += [PauseForError(row, job) for job in self.recording.jobs for row in job.io_pauses]
        return sorted(steps, key=self._order)

    def _is_released(self, job: Job) -> bool:
        each = self.courses[job]
        return each.held and each.leaves < self.recording.end and not job.refused

    def _order(self, step: Step) -> tuple[int, int]:
        """Puts steps in order; a job can be let go only when it is known which one of ours it is."""
        if isinstance(step, Release | PauseForError):
            return max(step.row, step.job.answered), 2
        return step.row, 0 if isinstance(step, Send) else 1

    def _steps_of(self, row: Row) -> list[Step]:
        recording = self.recording
        number = row.number
        if row.kind == "greeting":
            return [Connect(number, row.conn)]
        if row.kind in ("send", "raw-send"):
            exchange = recording.of_row(row)
            if exchange in self.left_out:
                return []
            crash = recording.crashed and number == recording.end
            return [Send(exchange.sent, exchange), *([Reply(number, exchange, row, judged=False)] if crash else [])]
        if recording.crashed and number > recording.end:
            return []
        if row.kind == "reply":
            exchange = recording.answered_at(row)
            return [] if exchange in self.left_out else [Reply(number, exchange, row)]
        if row.kind == "eof":
            return [Ended(number, row.conn) if number > recording.end else Leave(number, row.conn)]
        if row.kind == "exit":
            return [Exit(number, row.status)]
        return [Signal(number)] if number == recording.signal else []


def _left_out(exchange: Exchange) -> Difference | None:
    """Says why an exchange does not take place; nothing if it does."""
    if is_set_up(exchange):
        return Difference.DEVICES
    target = exchange.target
    if target is not None and target.kind in NO_BLOCK_JOBS and exchange.command.startswith("block-job-"):
        return Difference.CREATE_IS_NO_BLOCK_JOB
    if exchange.command not in CREATING and exchange.command != TRANSACTION:
        return None
    if exchange.accepted:
        return None if exchange.makes else Difference.NO_JOBS
    if any(job.heard for job in exchange.makes):
        return None
    text = exchange.replies[0].message["error"]["desc"] if exchange.replies else ""
    if text.startswith(("Invalid job ID", "Job ID")):
        return Difference.OWN_IDS
    return Difference.CREATION_ARGUMENTS if "arameter " in text else Difference.DEVICES
