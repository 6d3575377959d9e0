"""The exit statuses of `jqueue`; they are an interface, listed in jqueue(1)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """What `jqueue` exits with; the value of an error is its class's `exit_status`."""

    OK = 0
    """All good."""
    ERROR = 1
    """A job ended in error, or an order was not carried out."""
    USAGE = 2
    """The command line or the job description is not valid; nothing was changed."""
    CANCELED = 3
    """A job was cancelled (and none ended in error)."""
    UNREACHABLE = 69
    """The daemon cannot be reached."""
    REFUSED = 75
    """Refused for now: the queue is drained, full, or stopping; trying again later makes sense."""
    DENIED = 77
    """Your role does not allow this."""
    CONFIG = 78
    """The configuration is not valid."""
    TIMEOUT = 124
    """The time given with `--timeout` is over; the jobs go on."""
    INTERRUPTED = 130
    """Interrupted with Ctrl-C; what was followed goes on."""
    PIPE = 141
    """Whoever read standard output went away."""


def of_statuses(statuses: Iterable[str]) -> Exit:
    """Gives the exit status that final jobs stand for.

    @param statuses: the jobs' statuses; one that is not final counts as good
    @return: an error beats a cancellation, a cancellation beats success
    """
    seen = set(statuses)
    if "error" in seen:
        return Exit.ERROR
    return Exit.CANCELED if "canceled" in seen else Exit.OK
