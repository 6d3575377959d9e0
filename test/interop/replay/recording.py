"""What a recorded case shows: its jobs, what each client asked and was answered, and who heard what when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import story
from .rows import Case, Row
from .story import Heard, Pause

CREATING: Mapping[str, str] = {
    "blockdev-mirror": "mirror",
    "drive-mirror": "mirror",
    "block-commit": "commit",
    "blockdev-backup": "backup",
    "drive-backup": "backup",
    "block-stream": "stream",
    "blockdev-create": "create",
    "x-blockdev-amend": "amend",
}
"""QEMU's commands that make a job, and its type."""
TRANSACTION = "transaction"
NO_BLOCK_JOBS = ("create", "amend")

PAUSING = ("job-pause", "block-job-pause")
RESUMING = ("job-resume", "block-job-resume")
CANCELING = ("job-cancel", "block-job-cancel")
_SERVER = ""
"""Stands for the job in events that are about none."""


@dataclass(eq=False)
class Job:
    """One of QEMU's jobs; a later one of the same name is another."""

    name: str
    kind: str
    arguments: Mapping[str, Any]
    asked: int
    """The row of the command that made it."""
    answered: int = story.NEVER
    refused: bool = False
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    """By client."""
    pauses: list[Pause] = field(default_factory=list)
    cancels: list[int] = field(default_factory=list)
    """Rows of accepted commands to cancel it."""
    speeds: list[int] = field(default_factory=list)
    """Rows of accepted commands that set its speed."""
    io_pauses: list[int] = field(default_factory=list)
    """Rows at which QEMU paused it for an I/O error."""

    def story(self, conn: str | None = None) -> list[Heard]:
        """Gives what a client heard of it; without one, what the first did."""
        heard = self.heard.get(conn, []) if conn is not None else next(iter(self.heard.values()), [])
        return story.steady(heard, self.pauses)

    @property
    def is_block_job(self) -> bool:
        """Whether it is one for QEMU, see `Difference.CREATE_IS_NO_BLOCK_JOB`."""
        return self.kind not in NO_BLOCK_JOBS


@dataclass(eq=False)
class Exchange:
    """What a client sent, and what it was answered."""

    row: Row
    names: Mapping[str, Job]
    """Whom a name meant then."""
    replies: list[Row] = field(default_factory=list)
    makes: Sequence[Job] = ()
    """Jobs that it asks for."""

    @property
    def command(self) -> str:
        """The command, if it is one."""
        message = self.row.message
        command = message.get("execute", message.get("exec-oob")) if isinstance(message, dict) else None
        return command if isinstance(command, str) else ""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Its arguments; empty if it has none, or they are none."""
        given = self.row.message.get("arguments") if isinstance(self.row.message, dict) else None
        return given if isinstance(given, dict) else {}

    @property
    def accepted(self) -> bool:
        """Whether it was carried out."""
        return any("return" in reply.message for reply in self.replies)

    @property
    def sent(self) -> int:
        """The row at which it was sent; of what changes nothing, the one that shows what it saw."""
        if self.replies and self.row.kind == "send" and (self.command.startswith("query-") or not self.accepted):
            return self.replies[0].number
        return self.row.number

    @property
    def target(self) -> Job | None:
        """The job that a verb is for."""
        if not self.command.startswith(("job-", "block-job-")):
            return None
        name = self.arguments.get("id", self.arguments.get("device"))
        return self.names.get(name) if isinstance(name, str) else None


class Recording:
    """A case, read."""

    def __init__(self, case: Case) -> None:
        self.name = case.name
        self.rows = case.rows
        self.jobs: list[Job] = []
        self.exchanges: list[Exchange] = []
        self.server = Job(_SERVER, "", {}, 0)
        """Stands for the daemon: hears SHUTDOWN."""
        self._names: dict[str, Job] = {}
        self._asked_for: dict[str, Job] = {}
        for row in case.rows:
            self._read(row)
        for exchange in self.exchanges:
            self._note_verb(exchange)
        exits = [row.status for row in case.rows if row.kind == "exit"]
        self.crashed = bool(exits and exits[-1])
        quits = [each.row.number for each in self.exchanges if each.command == "quit" and each.accepted]
        self.quit = min(quits, default=story.NEVER)
        """The row of the command that ended the process."""
        signals = [
            heard.when
            for each in self.server.heard.values()
            for heard in each
            if heard.event.name.endswith("host-signal")
        ]
        self.signal = min(signals, default=story.NEVER)
        """The row that shows that a signal has ended it."""

    @property
    def end(self) -> int:
        """The row from which on the process is ending; for one that crashed, the last that was asked of it."""
        if self.crashed:
            return self.exchanges[-1].row.number
        return min(self.quit, self.signal)

    def answered_at(self, row: Row) -> Exchange:
        """Finds what a reply is the answer to."""
        return next(each for each in self.exchanges if row in each.replies)

    def of_row(self, row: Row) -> Exchange:
        """Finds what was sent with a row."""
        return next(each for each in self.exchanges if each.row is row)

    # Reading

    def _read(self, row: Row) -> None:
        if row.kind in ("send", "raw-send"):
            exchange = Exchange(row, dict(self._names))
            exchange.makes = self._made(exchange)
            self.exchanges.append(exchange)
        elif row.kind == "reply":
            self._answer(row)
        elif row.kind == "event" and row.message["event"] in story.EVENTS:
            self._hear(row)

    def _made(self, exchange: Exchange) -> Sequence[Job]:
        row = exchange.row
        if exchange.command in CREATING:
            actions = [(exchange.command, exchange.arguments)]
        elif exchange.command == TRANSACTION:
            given = exchange.arguments.get("actions", [])
            actions = [(each["type"], each["data"]) for each in given if each.get("type") in CREATING]
        else:
            return ()
        jobs = [
            Job(str(data.get("job-id", data.get("device", ""))), CREATING[kind], data, row.number)
            for kind, data in actions
        ]
        self._asked_for.update((job.name, job) for job in jobs)
        return jobs

    def _answer(self, row: Row) -> None:
        mine = [each for each in self.exchanges if each.row.conn == row.conn]
        open_ones = [each for each in mine if each.row.kind == "send" and not each.replies]
        exchange = open_ones[0] if open_ones else mine[-1]
        exchange.replies.append(row)
        for job in exchange.makes:
            job.answered = row.number
            job.refused = "error" in row.message
            if not job.refused:
                self._begin(job.name)
            self._asked_for.pop(job.name, None)

    def _begin(self, name: str) -> Job:
        """Finds the job that an event is about, which may be its first one."""
        if name in self._asked_for:
            job = self._asked_for.pop(name)
            self._names[name] = job
            self.jobs.append(job)
        return self._names[name]

    def _hear(self, row: Row) -> None:
        name, event = story.subject(row.message), story.event(row.message)
        job = self._begin(name) if name else self.server
        if event.name != story.IO_ERROR:
            job.heard.setdefault(row.conn, []).append(Heard(row.number, event))
        elif row.message["data"].get("action") == "stop" and row.conn == next(iter(job.heard)):
            job.io_pauses.append(row.number)
            job.pauses.append(Pause(row.number))

    def _note_verb(self, exchange: Exchange) -> None:
        job = exchange.target
        if job is None or not exchange.accepted:
            return
        begin, end = exchange.row.number, exchange.replies[0].number
        if exchange.command in PAUSING:
            job.pauses.append(Pause(begin))
        elif exchange.command in (*RESUMING, *CANCELING):
            job.pauses = [each.ended(begin, end) for each in job.pauses]
        if exchange.command in CANCELING:
            job.cancels.append(begin)
        if exchange.command == "block-job-set-speed":
            job.speeds.append(begin)


def paused_by_user(job: Job, row: int) -> bool:
    """Whether the user had paused a job when a command was sent."""
    return any(pause.begin < row < pause.end for pause in job.pauses)
