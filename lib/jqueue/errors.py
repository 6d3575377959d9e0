"""The one tree of errors.

Each class's docstring is the message when none is given: what happened, and what to do next.
`exit_status` is what a command line tool exits with (see jqueue(1)).
On the wire an error is `[class name, [text, code]]`; names and codes are those of Ganeti 2.10 where it has one.
What an error looks like in a particular protocol's frame does not live here, see `jqueue.rpc`.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

WRONG_INPUT = "wrong_input"
WRONG_STATE = "wrong_state"
UNKNOWN_ENTITY = "unknown_entity"
ALREADY_EXISTS = "already_exists"
TEMPORARILY_UNAVAILABLE = "temp_insufficient_resources"
INTERNAL_ERROR = "internal_error"
ENVIRONMENT_ERROR = "environment_error"
NOT_ALLOWED = "not_allowed"


class GenericError(Exception):
    """Something went wrong in jqueue; the daemon's log has the details."""

    exit_status: ClassVar[int] = 1
    default_code: ClassVar[str] = INTERNAL_ERROR

    def __init__(self, text: str | None = None, code: str | None = None) -> None:
        """Makes the error.

        @param text: what happened, to which job or file, and what to do next; the class's docstring without one
        @param code: a machine-readable word, one of the constants above; the class's own without one
        """
        self.text = text if text is not None else " ".join((type(self).__doc__ or "").split())
        self.code = code if code is not None else self.default_code
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


class ProgrammerError(GenericError):
    """jqueue broke one of its own rules; please report this with the daemon's log."""


# What was asked for is wrong


class OpPrereqError(GenericError):
    """The request is not valid; correct it and send it again."""

    exit_status = 2
    default_code = WRONG_INPUT


class ParameterError(OpPrereqError):
    """A parameter is missing, unknown or of the wrong type; see the reference of the method."""


class WrongState(OpPrereqError):
    """The job's state does not admit that; `jqueue info` shows the state that it is in."""

    default_code = WRONG_STATE

    def __init__(self, text: str | None = None, code: str | None = None, *, state: str = "", verb: str = "") -> None:
        """Makes the error.

        @param state: the job's lifecycle state
        @param verb: what it was told, one of QEMU's words
        """
        super().__init__(text, code)
        self.state = state
        self.verb = verb


class JobLost(GenericError):
    """There is no such job, neither in the queue nor in the archive; `jqueue list` shows the ids."""

    default_code = UNKNOWN_ENTITY


class PermissionDenied(GenericError):
    """Your role does not allow this; ask an administrator of the queue."""

    exit_status = 77
    default_code = NOT_ALLOWED


# What an opcode does


class OpExecError(GenericError):
    """The opcode failed while it ran; `jqueue log` of the job says why."""

    default_code = ENVIRONMENT_ERROR


class JobCanceled(GenericError):
    """The job was cancelled."""

    exit_status = 3
    default_code = WRONG_STATE


# The queue does not take it now


class JobQueueError(GenericError):
    """The queue cannot do this now; `jqueue doctor` tells why."""

    exit_status = 75
    default_code = TEMPORARILY_UNAVAILABLE


class JobQueueFull(JobQueueError):
    """The queue holds as many unfinished jobs as its configuration allows; wait until some have ended."""


class JobQueueDrainError(JobQueueError):
    """The queue is drained and takes no new jobs; `jqueue drain off` opens it again."""


class ShuttingDown(JobQueueError):
    """The daemon is stopping and takes no new work; try again when it is back."""


class DiskFull(JobQueueError):
    """The disk that holds the queue is full: nothing new is taken; free some space, running jobs go on meanwhile."""


# The daemon, its files, its peers


class ConfigurationError(GenericError):
    """The configuration is not valid; jqueue.yaml(5) describes every setting."""

    exit_status = 78
    default_code = WRONG_INPUT


class StateError(GenericError):
    """The state directory cannot be used; see the message for the file and what to do."""

    default_code = ENVIRONMENT_ERROR


class StateDirLocked(StateError):
    """Another daemon uses this state directory; stop it first, or give this one a directory of its own."""


class JournalDamaged(StateError):
    """The journal is damaged in the middle; `jqueue fsck` shows what can be saved."""

    path: str | None = None
    """The file, where it is known."""
    offset: int | None = None
    """The byte at which the damage begins."""
    what: str | None = None
    """What is wrong there."""


class StoreFailed(StateError):
    """A disk call failed in a way that must not be retried; the daemon stops, check the disk and start it again."""


class DaemonUnreachable(GenericError):
    """The daemon cannot be reached; is jqueued running, and does JQUEUE_SOCKET name its socket?"""

    exit_status = 69
    default_code = ENVIRONMENT_ERROR


class ProtocolError(GenericError):
    """The other side does not speak the protocol; the connection is closed."""

    exit_status = 69
    default_code = WRONG_INPUT


class WaitTimeout(GenericError):
    """The time to wait is over; the job goes on."""

    exit_status = 124
    default_code = WRONG_STATE


def from_disk(problem: OSError, what: str) -> DiskFull | StateError:
    """Says what a disk call that failed means to whoever asked for it.

    @param what: what could not be done, naming the job or file
    """
    reason = problem.strerror or str(problem)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{what}: {reason}; free some space")
    return StateError(f"{what}: {reason}; check {problem.filename or 'the disk'}")


def _all_classes(root: type[GenericError]) -> dict[str, type[GenericError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_all_classes(child))
    return found


def encode(error: BaseException) -> list[Any]:
    """Gives an error the form in which results and replies carry it.

    @param error: any exception; one that is not ours counts as an `OpExecError` of its text, as in Ganeti 2.10
    @return: `[class name, [text, code]]`
    """
    if not isinstance(error, GenericError):
        error = OpExecError(text_of(error))
    return [type(error).__name__, [error.text, error.code]]


def text_of(error: BaseException) -> str:
    """Gives the text of any exception; its class, if it has none, or fails to say it."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return text or type(error).__name__


def decode(value: object) -> GenericError:
    """Turns what `encode` made back into an exception.

    @param value: `[class name, [text, code]]`; anything else, or an unknown class, becomes a `GenericError` quoting it
    """
    match value:
        case [str(name), [str(text), *rest]]:
            code = rest[0] if rest and isinstance(rest[0], str) else None
            known = _all_classes(GenericError).get(name)
            return known(text, code) if known else GenericError(f"{name}: {text}", code)
        case _:
            return GenericError(str(value))
