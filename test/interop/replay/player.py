"""Plays a script against a daemon, and says what was not as recorded.

Before each step every client has to have heard what the recording shows up to there: nothing depends on time.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ...integration.daemon import Daemon
from . import comparison, script, story
from .comparison import Judge
from .equivalent import SLOW, submission
from .monitor import PATIENCE, Monitor, wait
from .recording import PAUSING, RESUMING, Exchange, Job
from .script import Script
from .story import Heard, Pause

_OURS = ""
"""The name of the client by which the player itself asks and lets go of jobs."""


class Stuck(Exception):
    """The replay cannot go on."""


class Player:
    """Plays one script."""

    def __init__(self, played: Script, daemon: Daemon, notes: Path) -> None:
        """Makes it.

        @param daemon: one that answers, and has no jobs
        @param notes: a file for the notes of jobs
        """
        self._script = played
        self._daemon = daemon
        self._notes = notes
        self._count = 0
        self._monitors: dict[str, Monitor] = {}
        self._ids: dict[Job, str] = {}
        self._pauses: dict[Job, list[Pause]] = {}
        self._sent: dict[Exchange, int] = {}
        self._working: set[Job] = set()
        self.problems: list[tuple[int, str]] = []
        """Rows that were not as recorded, and what there was instead."""

    def play(self) -> list[tuple[int, str]]:
        """Plays it.

        @return: what was not as recorded
        """
        try:
            self._begin()
            for step in self._script.steps:
                self._before(step)
                self._take(step)
            self._end()
        except Stuck:
            pass
        finally:
            for monitor in self._monitors.values():
                monitor.close()
        return sorted(set(self.problems))

    # Steps

    def _begin(self) -> None:
        self._connect(_OURS, 0)
        self._ask("qmp_capabilities")
        commands = {str(each["name"]) for each in self._ask("query-commands")}
        self._judge = Judge(self._ids, commands)

    def _take(self, step: script.Step) -> None:
        match step:
            case script.Connect(row, conn):
                self._connect(conn, row)
            case script.Send(_, exchange):
                self._send(exchange)
            case script.Reply():
                self._answer(step)
            case script.Release(row, job):
                self._wait_for_work(row, job)
                self._judge.released.add(job)
                self._ask("block-job-set-speed", device=self._ids[job], speed=0)
            case script.PauseForError(_, job):
                self._pauses[job].append(Pause(self._now()))
                self._ask("job-pause", id=self._ids[job])
            case script.Leave(_, conn):
                self._monitors[conn].close()
            case script.Ended(row, conn):
                monitor = self._monitors[conn]
                if not self._wait(lambda: not monitor.open):
                    self._stuck(row, f"client {conn} is not disconnected")
            case script.Signal():
                self._daemon.signal(signal.SIGTERM)
            case script.Exit(row, status):
                found = self._daemon.wait()
                if found != status:
                    self._problem(row, f"the exit status {status} expected, got {found}")

    def _connect(self, conn: str, row: int) -> None:
        monitor = Monitor(self._daemon.runtime / "qmp.sock", self._now)
        self._monitors[conn] = monitor
        if not self._wait(lambda: monitor.greeting is not None):
            self._stuck(row, f"client {conn} is not greeted")
        self._complain(row, comparison.greeting(monitor.greeting))

    def _send(self, exchange: Exchange) -> None:
        job = exchange.target
        self._sent[exchange] = self._now()
        if job in self._pauses and exchange.command in PAUSING:
            # It counts until the answer shows that it does not: the event may come first.
            self._pauses[job].append(Pause(self._sent[exchange]))
        data = exchange.row.raw if exchange.row.kind == "raw-send" else json.dumps(self._message(exchange)).encode()
        self._monitors[exchange.row.conn].send(data)

    def _message(self, exchange: Exchange) -> Any:
        message = exchange.row.message
        if exchange.makes:
            command, arguments = submission(self._script.recording, exchange, self._notes)
            return {**message, "execute": command, "arguments": arguments}
        job = exchange.target
        if job is None or job not in self._ids:
            return message
        changed: dict[str, object] = {name: self._ids[job] for name in ("id", "device") if name in exchange.arguments}
        if (
            exchange.command == "block-job-set-speed"
            and exchange.arguments.get("speed") == 0
            and self._goes_on(exchange)
        ):
            # Its next piece of work takes QEMU a while; ours has none, and would leave at once.
            changed["speed"] = SLOW
            self._judge.released.add(job)
        return {**message, "arguments": {**exchange.arguments, **changed}}

    def _goes_on(self, exchange: Exchange) -> bool:
        """Whether a job that is let go is seen to run when the next command is given."""
        job = exchange.target
        course = self._script.courses.get(job) if job is not None else None
        later = [each.row for each in self._script.steps if isinstance(each, script.Send) and each.row > exchange.sent]
        return course is not None and course.held and bool(later) and exchange.sent < later[0] < course.leaves

    def _answer(self, step: script.Reply) -> None:
        exchange = step.exchange
        monitor = self._monitors[exchange.row.conn]
        if not self._wait(lambda: bool(monitor.replies) or not monitor.open) or not monitor.replies:
            self._stuck(step.row, f"no reply to {exchange.command or 'what was sent'}")
        got = monitor.replies.popleft()
        if step.judged:
            complaint = self._judge.reply(exchange, step.recorded.message, got)
            self._complain(step.row, complaint and f"{exchange.command or exchange.row.raw!r:.60}: {complaint}")
            self._learn(exchange, got, monitor)

    def _learn(self, exchange: Exchange, got: Any, monitor: Monitor) -> None:
        """Notes what an answer tells: the ids of new jobs, who may hear events, and whether a job is paused."""
        result = got.get("return")
        if exchange.command == "qmp_capabilities":
            monitor.negotiated = monitor.negotiated or result is not None
        if exchange.makes and result is not None:
            ids = result["ids"] if "ids" in result else [result["id"]]
            self._ids.update(zip(exchange.makes, ids, strict=True))
            self._pauses.update((job, []) for job in exchange.makes)
        elif exchange.makes and not exchange.makes[0].refused:
            self._stuck(exchange.row.number, "the job is not taken")
        job = exchange.target
        if job not in self._pauses:
            return
        if exchange.command in PAUSING and result is None:
            self._pauses[job].pop()
        elif exchange.command in RESUMING and result is not None:
            self._pauses[job] = [each.ended(self._sent[exchange], self._now()) for each in self._pauses[job]]

    # What has to have happened

    def _before(self, step: script.Step) -> None:
        """Waits until all has happened that the recording shows before a step."""
        if isinstance(step, script.Reply):
            return
        self._reach(step.row)
        for job in self._ids:
            if [each.event.name for each in self._got(job, _OURS)][-1:] == ["running"]:
                self._wait_for_work(step.row, job)

    def _reach(self, row: int) -> None:
        """Waits until every client has heard what the recording shows before a row."""
        for conn in self._clients():
            for job in (self._script.recording.server, *self._ids):
                self._hear(job, conn, row)

    def _hear(self, job: Job, conn: str, row: int) -> None:
        expected = self._script.expected(job, conn)
        due = [each for each in expected if each.when < row]
        monitor = self._monitors[conn]

        def problem() -> tuple[int, str] | None:
            return comparison.heard(expected, self._got(job, conn), complete=False)

        self._wait(lambda: len(self._got(job, conn)) >= len(due) or problem() is not None or not monitor.open)
        got, found = self._got(job, conn), problem()
        if found is not None:
            self._stuck(found[0], f"client {conn}, {self._called(job)}: {found[1]}")
        if len(got) < len(due):
            late = due[len(got)]
            self._stuck(late.when, f"client {conn}, {self._called(job)}: {late.event} has not come")

    def _wait_for_work(self, row: int, job: Job) -> None:
        """Waits until a job that is to be held or busy is so; once for each."""
        course = self._script.courses[job]
        if job in self._working or not (course.held or course.busy):
            return
        self._working.add(job)
        deadline = time.monotonic() + PATIENCE
        while not (self._is_noted(job) if course.busy else self._has_progressed(job)):
            if time.monotonic() > deadline:
                self._stuck(row, f"{self._called(job)} is running, but does nothing")
            time.sleep(0.01)

    def _is_noted(self, job: Job) -> bool:
        notes = self._notes.read_text().splitlines() if self._notes.exists() else []
        return any(note.startswith(f"{self._ids[job].removeprefix('job')}.") for note in notes)

    def _has_progressed(self, job: Job) -> bool:
        """Whether it has done its first piece; it has as well if it is not there any more."""
        rows = [each for each in self._ask("query-jobs") if each["id"] == self._ids[job]]
        return not rows or rows[0]["current-progress"] > 0

    def _end(self) -> None:
        """Judges all that was heard, once nothing more can come."""
        recording = self._script.recording
        self._reach(story.NEVER)
        for conn in self._clients():
            monitor = self._monitors[conn]
            if monitor.open and monitor.negotiated and not recording.crashed:
                self._ask("query-version", conn)
        for conn in self._clients():
            self._judge_client(conn, self._monitors[conn])
        if recording.crashed:
            self._ask("query-version")
        if recording.signal != story.NEVER:
            self._look_for_jobs()

    def _judge_client(self, conn: str, monitor: Monitor) -> None:
        for message in monitor.events:
            self._complain(0, comparison.form(message))
        for job in (self._script.recording.server, *self._ids):
            problem = comparison.heard(self._script.expected(job, conn), self._got(job, conn), complete=True)
            if problem is not None and self._is_complete(job):
                self._problem(problem[0], f"client {conn}, {self._called(job)}: {problem[1]}")
        strangers = monitor.heard.keys() - set(self._ids.values()) - {""}
        if strangers:
            self._problem(0, f"events of jobs that nobody asked for: {', '.join(sorted(strangers))}")
        for reply in monitor.replies:
            self._problem(0, f"client {conn}: a reply that nobody asked for: {reply}")

    def _look_for_jobs(self) -> None:
        """Starts the daemon again, to see that it has kept its jobs, see `Difference.SIGNAL`."""
        self._daemon.start()
        for job in self._ids:
            number = int(self._ids[job].removeprefix("job"))
            if self._daemon.status(number) is None:
                self._problem(self._script.recording.signal, f"{self._called(job)} is not kept")

    def _is_complete(self, job: Job) -> bool:
        """Whether the recording shows all that may be heard of a job, or of the daemon."""
        recording = self._script.recording
        if job is recording.server:
            # Difference.STORAGE_DAEMON
            return recording.quit == story.NEVER or bool(job.heard)
        return recording.signal == story.NEVER and not recording.crashed  # Difference.SIGNAL, Difference.CRASH

    def _got(self, job: Job, conn: str) -> list[Heard]:
        """Gives what a client has heard of a job, or of the daemon."""
        heard = self._monitors[conn].heard.get(self._ids.get(job, ""), [])
        if not job.is_block_job:  # Difference.CREATE_IS_NO_BLOCK_JOB
            heard = [each for each in heard if not each.event.name.startswith("BLOCK_JOB_")]
        return story.steady(heard, self._pauses.get(job, []))

    # Small things

    def _clients(self) -> list[str]:
        return [conn for conn in self._monitors if conn != _OURS]

    def _ask(self, command: str, conn: str = _OURS, **arguments: object) -> Any:
        """Gives what a command of the player's own returns; nothing if it is refused."""
        identity = f"replay {self._now()}"
        monitor = self._monitors[conn]
        monitor.ask(command, arguments, identity)
        while True:
            if not self._wait(lambda: bool(monitor.replies) or not monitor.open) or not monitor.replies:
                self._stuck(0, f"no reply to the player's own {command}")
            reply = monitor.replies.popleft()
            if reply.get("id") == identity:
                return reply.get("return")
            self._problem(0, f"client {conn}: a reply that nobody asked for: {reply}")

    def _wait(self, done: Callable[[], bool]) -> bool:
        return wait(self._monitors.values(), done)

    def _now(self) -> int:
        self._count += 1
        return self._count

    def _called(self, job: Job) -> str:
        return f"{self._ids[job]} ({job.name})" if job in self._ids else "the daemon"

    def _complain(self, row: int, complaint: str | None) -> None:
        if complaint:
            self._problem(row, complaint)

    def _problem(self, row: int, text: str) -> None:
        self.problems.append((row, text))

    def _stuck(self, row: int, text: str) -> NoReturn:
        self._problem(row, text)
        raise Stuck
