"""What is heard of one job: its events in order, with QEMU's own short pauses taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

CANCELED = "Operation canceled"
STATUS_CHANGE = "JOB_STATUS_CHANGE"
SHUTDOWN = "SHUTDOWN"
IO_ERROR = "BLOCK_JOB_ERROR"
EVENTS = (
    *(STATUS_CHANGE, SHUTDOWN, IO_ERROR),
    *("BLOCK_JOB_READY", "BLOCK_JOB_PENDING", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"),
)
"""Those that are looked at."""

_STOPPED = {"paused": "running", "standby": "ready"}
"""The states of a pause, and where each comes from and leads to."""
NEVER = 1 << 60
"""Later than everything."""


@dataclass(frozen=True)
class Event:
    """What of an event is compared."""

    name: str
    """The status for a change of it, else the name of the event; with its reason for SHUTDOWN."""
    error: str | None = None

    def __str__(self) -> str:
        return self.name if self.error is None else f"{self.name} with the error {self.error!r}"

    def admits(self, other: Event) -> bool:
        """Whether another event may stand for this recorded one."""
        if self.error is None or other.error is None:
            return self == other
        # Difference.ERROR_TEXT
        return self.name == other.name and (self.error == other.error or CANCELED not in (self.error, other.error))


class Heard(NamedTuple):
    """An event, and when it came: the number of its row, or of the message among ours."""

    when: int
    event: Event


class Pause(NamedTuple):
    """From when to when a job was paused by the user, in the same numbers."""

    begin: int
    end: int = NEVER

    def ended(self, sent: int, answered: int) -> Pause:
        """Gives what is left of it after a command that ends pauses; a later one stays as it is."""
        return self if self.begin > sent else Pause(self.begin, min(self.end, answered))


def subject(message: Mapping[str, Any]) -> str:
    """Gives the job that an event is about; nothing if it is about none."""
    data = message.get("data", {})
    return str(data.get("id", data.get("device", "")))


def event(message: Mapping[str, Any]) -> Event:
    """Reads an event."""
    name, data = message["event"], message.get("data", {})
    if name == STATUS_CHANGE:
        return Event(data["status"])
    if name == SHUTDOWN:
        return Event(f"{name} by {data['reason']}")
    return Event(name, data.get("error"))


def steady(heard: Sequence[Heard], pauses: Sequence[Pause]) -> list[Heard]:
    """Takes out the pauses that the user did not ask for, see `Difference.FLICKER`.

    @param heard: what was heard of one job by one client
    @param pauses: when the user had paused the job
    @return: the rest; a pause that the user asked for when the job was stopped already begins with the user's
    """
    kept: list[Heard] = []
    index = 0
    while index < len(heard):
        when, event = heard[index]
        leads_to = _STOPPED.get(event.name)
        following = heard[index + 1] if index + 1 < len(heard) else Heard(NEVER, Event(leads_to or ""))
        users = [pause.begin for pause in pauses if pause.begin < following.when and pause.end > when]
        if leads_to is not None and users:
            kept.append(Heard(max(when, min(users)), event))
        elif leads_to is None or following.event.name != leads_to:
            kept.append(heard[index])
        else:
            index += 1
        index += 1
    return kept
