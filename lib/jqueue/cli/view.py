"""How followed jobs look: log lines and changes, as text or JSON lines, and how they ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jqueue.cli.columns import job_text, json_of
from jqueue.cli.exit import of_statuses
from jqueue.cli.follow import Change, Event, Follower, Line, Step, Tick
from jqueue.cli.progress import Progress
from jqueue.cli.results import end_text, is_final
from jqueue.cli.stages import Advice, note
from jqueue.cli.terminal import Terminal, printable
from jqueue.cli.times import clock_text, iso


class View:
    """Shows the events of followed jobs."""

    def __init__(self, terminal: Terminal, several: bool, changes: str = "talk", times: bool = False) -> None:
        """Makes it.

        @param several: whether lines must say which job they are about
        @param changes: where changes of state go: `data` is stdout, `talk` is stderr (with JSON it is stdout, too),
            `end` is stderr and only the last one
        @param times: whether log lines begin with their time
        """
        self._terminal = terminal
        self._several = several
        self._changes = changes
        self._times = times
        self._advice = Advice(terminal)
        self._progress: dict[int, tuple[list[Any] | None, int]] = {}
        self._told: dict[int, str] = {}
        self.ended: dict[int, dict[str, Any]] = {}

    def follow(self, follower: Follower) -> int:
        """Shows everything until the jobs have ended, which are in `ended` then.

        @return: the exit status that they stand for
        """
        bar = Progress(self._terminal, self._several)
        self._terminal.following = follower.unfinished
        try:
            for event in follower.events():
                self.show(event, bar)
                self._terminal.following = follower.unfinished
        finally:
            bar.close()
        return of_statuses(job["status"] for job in self.ended.values())

    def show(self, event: Event, bar: Progress) -> None:
        """Shows one event."""
        match event:
            case Line(job_id, entry):
                show_line(self._terminal, job_id, entry, several=self._several, times=self._times)
            case Change():
                self._change(event)
            case Step(step):
                self._step(step)
            case Tick(progress, limits):
                self._tick(progress, limits)
                bar.update(progress, limits)

    def _change(self, change: Change) -> None:
        job = change.job
        if is_final(job["status"]):
            self.ended[job["id"]] = job
        if self._terminal.json:
            if self._changes != "end":
                self._terminal.emit({"type": "change", **change_json(job)})
        elif self._changes == "data":
            what = f"{job['id']:>6}  {_state_text(change):<8}  {_opcode(job)}{job.get('name') or job_text(job)}"
            if self._is_news(job, what):
                self._terminal.out(printable(f"{clock_text(job.get('end_ts') or self._now())}  {what}".rstrip()))
        said = self._advice.give(job["id"], change.needs, change.members)
        if self._terminal.json or self._changes == "data" or said:
            return
        if is_final(job["status"]) or self._changes == "talk":
            what = f"job {job['id']}: {'; '.join([_state_text(change), *change.reasons])}"
            if self._is_news(job, what):
                self._terminal.say(what)

    def _is_news(self, job: dict[str, Any], what: str) -> bool:
        """Whether a text differs from the last one about the job; not every change makes a difference to people."""
        before, self._told[job["id"]] = self._told.get(job["id"]), what
        return what != before

    def _step(self, step: dict[str, Any]) -> None:
        if self._terminal.json:
            self._terminal.emit({"type": "lifecycle", **step})
            return
        data = {name: value for name, value in step["data"].items() if name not in ("id", "device")}
        what = [step["event"], *(f"{name}={_plain(value)}" for name, value in data.items())]
        if list(data) == ["status"]:
            what = [data["status"]]
        who = "-" if step["id"] is None else step["id"]
        self._terminal.out(printable(f"{clock_text(self._now())}  {who:>6}  -> {' '.join(what)}"))

    def _tick(self, progress: dict[int, list[Any] | None], limits: dict[int, int]) -> None:
        for job_id, value in progress.items():
            now = value, limits.get(job_id, 0)
            if self._terminal.json and self._changes != "end" and value is not None:
                if now != self._progress.get(job_id):
                    how_far = json_of("progress", value)
                    self._terminal.emit({"type": "progress", "id": job_id, **how_far, "speed": now[1]})
            self._progress[job_id] = now

    def _now(self) -> list[int]:
        return [int(self._terminal.clock.time()), 0]


def show_line(
    terminal: Terminal, job_id: int, entry: Sequence[Any], *, several: bool = False, times: bool = False
) -> None:
    """Writes one log entry.

    @param several: whether to say which job it is from
    @param times: whether to say when it was
    """
    if terminal.json:
        op, serial, when, kind, message = entry
        terminal.emit(
            {
                "type": "log",
                "id": job_id,
                "op": op,
                "serial": serial,
                "time": iso(when),
                "kind": kind,
                "message": message,
            }
        )
        return
    message = entry[4] if isinstance(entry[4], str) else json.dumps(entry[4])
    prefix = f"{clock_text(entry[2])} " if times else ""
    prefix += f"[{job_id}] " if several else ""
    terminal.out(prefix + (printable(message) if terminal.stdout.isatty() else message))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _state_text(change: Change) -> str:
    """Gives status or end of a job, and its lifecycle where that says more."""
    more = note(change.job, change.needs)
    return f"{end_text(change.job)} ({more})" if more else end_text(change.job)


def _opcode(job: dict[str, Any]) -> str:
    """Says which opcode of several a job is at, which is news while its status stays the same."""
    statuses, summary = job.get("opstatus") or [], job.get("summary") or []
    at = next((index for index, status in enumerate(statuses) if not is_final(status)), None)
    if at is None or len(statuses) < 2 or len(summary) <= at:
        return ""
    return f"{at + 1}/{len(statuses)} {summary[at]}  "


def change_json(job: dict[str, Any]) -> dict[str, Any]:
    """Gives the JSON form of a change."""
    error = end_text(job).removeprefix("error: ") if job["status"] == "error" else None
    keys = ("id", "name", "status", "lifecycle", "priority")
    return {**{key: job.get(key) for key in keys}, "ended": iso(job.get("end_ts")), "error": error}
