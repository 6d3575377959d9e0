"""Judges answers and events: whether they are the recorded ones, apart from what `differences` allows.

Each judgement is a complaint in words, or nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import story
from .recording import Exchange, Job, paused_by_user
from .story import Heard

NOT_FOUND = "CommandNotFound"
_NAME = re.compile("((?:[Jj]ob|device) )'([^']*)'")
"""Where the name of a job stands in the text of an error."""
_LATE_COMMANDS = frozenset({"block-job-change"})
"""QEMU's commands for jobs that only its newer versions have, and that no type of our jobs would support."""
_LATE_MEMBERS = frozenset({"actively-synced"})
"""Members of a row that only QEMU's newer versions have, for mirrors."""
_BLOCK_JOB = {"device", "type", "len", "offset", "speed"}
_MEMBERS: Mapping[str, set[str]] = {
    story.STATUS_CHANGE: {"id", "status"},
    story.SHUTDOWN: {"guest", "reason"},
    "BLOCK_JOB_READY": _BLOCK_JOB,
    "BLOCK_JOB_PENDING": {"id", "type"},
    "BLOCK_JOB_COMPLETED": _BLOCK_JOB,
    "BLOCK_JOB_CANCELLED": _BLOCK_JOB,
}


class Judge:
    """Knows which of our jobs stands for which of QEMU's."""

    def __init__(self, ids: Mapping[Job, str], commands: Collection[str]) -> None:
        """Makes it.

        @param ids: our ids; looked at each time
        @param commands: those that the daemon has
        """
        self._ids = ids
        self._commands = commands
        self.released: set[Job] = set()
        """Jobs that the player has let go, by their speed."""

    def reply(self, exchange: Exchange, recorded: Mapping[str, Any], got: Mapping[str, Any]) -> str | None:
        """Judges an answer to what was sent."""
        wanted = {name: value for name, value in recorded.items() if name != "id"}
        given = {name: value for name, value in got.items() if name != "id"}
        if _json(recorded.get("id", ...)) != _json(got.get("id", ...)):
            return f"the id {_json(recorded.get('id', ...))} expected, got {_json(got.get('id', ...))}"
        if exchange.makes:
            return self._submission(wanted, given)
        if self._is_foreign(exchange, wanted):
            wanted = {"error": {"class": NOT_FOUND, "desc": f"The command {exchange.command} has not been found"}}
        if "return" in wanted and "return" in given:
            return self._result(exchange, wanted["return"], given["return"])
        wanted = self._renamed(exchange, wanted)
        return None if _json(wanted) == _json(given) else f"expected {_json(wanted)}, got {_json(given)}"

    def _submission(self, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
        """Judges only whether the jobs were taken, see `Difference.REFUSED_SUBMISSION`."""
        if list(wanted) == list(given):
            return None
        return f"{list(wanted)[0]} expected, got {_json(given)}"

    def _is_foreign(self, exchange: Exchange, wanted: Mapping[str, Any]) -> bool:
        """Whether the daemon has no such command, see `Difference.COMMANDS`."""
        command = exchange.command
        known = wanted.get("error", {}).get("class") != NOT_FOUND
        envelope = str(wanted.get("error", {}).get("desc", "")).startswith("QMP input")
        return bool(command) and command not in self._commands and known and not envelope

    def _renamed(self, exchange: Exchange, wanted: dict[str, Any]) -> dict[str, Any]:
        """Puts our ids in the text of an error."""
        error = wanted.get("error")
        if error is None:
            return wanted
        ids = {name: self._ids[job] for name, job in exchange.names.items() if job in self._ids}
        text = _NAME.sub(lambda match: f"{match[1]}'{ids.get(match[2], match[2])}'", error["desc"])
        return {"error": {**error, "desc": text}}

    # Results

    def _result(self, exchange: Exchange, wanted: Any, given: Any) -> str | None:
        match exchange.command:
            case "query-jobs":
                return self._rows(exchange, wanted, given, "id")
            case "query-block-jobs":
                return self._rows(exchange, wanted, given, "device")
            case "query-version":
                return version(given)
            case "query-commands":
                return self._command_list(wanted, given)
        return None if _json(wanted) == _json(given) else f"expected {_json(wanted)}, got {_json(given)}"

    def _command_list(self, wanted: Any, given: Any) -> str | None:
        """See `Difference.COMMAND_LIST`."""
        ours = {each["name"] for each in given}
        theirs = {each["name"] for each in wanted if re.match("(block-)?job-|query-(block-)?jobs$", each["name"])}
        missing = theirs - ours - _LATE_COMMANDS
        return f"these commands are missing: {', '.join(sorted(missing))}" if missing else None

    def _rows(self, exchange: Exchange, wanted: Any, given: Any, identity: str) -> str | None:
        if identity == "device":  # Difference.CREATE_IS_NO_BLOCK_JOB
            others = [id for job, id in self._ids.items() if not job.is_block_job]
            given = [each for each in given if each["device"] not in others]
        jobs = [exchange.names[each[identity]] for each in wanted]
        order = [self._ids.get(job, job.name) for job in jobs]
        if [each[identity] for each in given] != order:
            return f"the jobs {order} expected, got {[each[identity] for each in given]}"
        for job, theirs, ours in zip(jobs, wanted, given, strict=True):
            complaint = self._row(exchange, job, theirs, ours)
            if complaint is not None:
                return f"{self._ids[job]}: {complaint}"
        return None

    def _row(self, exchange: Exchange, job: Job, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
        missing = wanted.keys() - given.keys() - _LATE_MEMBERS
        if missing:
            return f"no {', '.join(sorted(missing))} in {_json(given)}"
        row = exchange.row.number
        names = ["status", "ready", "auto-finalize", "auto-dismiss"]
        # Differences PROGRESS, TYPE, IO_STATUS, BUSY; for the others:
        ended = wanted["status"] in ("waiting", "pending", "concluded")
        if not wanted.get("paused") or (paused_by_user(job, row) and not ended):  # Difference.PAUSE_COUNT
            names.append("paused")
        if job not in self.released and any(number < row for number in job.speeds):  # Difference.SPEED
            names.append("speed")
        for name in names:
            if name in wanted and _json(wanted[name]) != _json(given[name]):
                return f"{name} {_json(wanted[name])} expected, got {_json(given[name])}"
        theirs, ours = wanted.get("error"), given.get("error")
        if story.Event("", theirs).admits(story.Event("", ours)):
            return None
        return f"the error {theirs!r} expected, got {ours!r}"


def heard(expected: Sequence[Heard], got: Sequence[Heard], *, complete: bool) -> tuple[int, str] | None:
    """Judges what was heard of one job.

    @param complete: whether nothing more will come
    @return: the row that is not as recorded, and the complaint
    """
    for index, (row, event) in enumerate(expected):
        if index == len(got):
            return (row, f"{event} expected, nothing more came") if complete else None
        if not event.admits(got[index].event):
            return row, f"{event} expected, got {got[index].event}"
    if len(got) > len(expected) and complete:
        row = expected[-1].when if expected else 0
        return row, f"nothing more expected, got {', '.join(str(each.event) for each in got[len(expected) :])}"
    return None


def form(message: Mapping[str, Any]) -> str | None:
    """Judges the form of one of our events."""
    name, data, stamp = message["event"], message.get("data", {}), message.get("timestamp")
    if not isinstance(stamp, dict) or not all(type(stamp.get(key)) is int for key in ("seconds", "microseconds")):
        return f"an event without a time: {_json(message)}"
    wanted = _MEMBERS.get(name, set())
    if set(data) - ({"error"} if name == "BLOCK_JOB_COMPLETED" else set()) != wanted:
        return f"{name} with the members {', '.join(sorted(wanted))} expected, got {_json(data)}"
    return None


def greeting(message: Mapping[str, Any]) -> str | None:
    """Judges a greeting, see `Difference.VERSION`."""
    greeted = message.get("QMP")
    if not isinstance(greeted, dict) or not isinstance(greeted.get("capabilities"), list):
        return f"a greeting expected, got {_json(message)}"
    return version(greeted.get("version"))


def version(given: Any) -> str | None:
    """Judges a version, see `Difference.VERSION`."""
    numbers = given.get("qemu", {}) if isinstance(given, dict) else {}
    if all(type(numbers.get(part)) is int for part in ("major", "minor", "micro")) and "package" in given:
        return None
    return f"a version as QEMU's expected, got {_json(given)}"


def _json(value: Any) -> str:
    """Writes a value so that true is not 1, and an order of members does not count."""
    return "nothing" if value is ... else json.dumps(value, sort_keys=True)
