"""The one table of QMP commands: names, arguments and permissions; and what each asks of the queue.

Those with `block-job` in their name are the same verbs for the same jobs: every job is a block job here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost
from jqueue.rpc.parameters import MAX_ID
from jqueue.rpc.peer import Role
from jqueue.rpc.qmp import message
from jqueue.rpc.qmp.api import JobInfo, QmpQueue
from jqueue.rpc.qmp.arguments import (
    BOOLEAN,
    BOOLEAN_OR_TEXT,
    LIST,
    LIST_OR_OBJECT,
    TEXT,
    Argument,
    Integer,
    ListOf,
    Word,
)
from jqueue.rpc.qmp.faults import COMMAND_NOT_FOUND, QmpError, block_job_not_found, job_not_found
from jqueue.rpc.session import Session

_JOB_ID = re.compile("job([1-9][0-9]{0,18})", re.ASCII)


class Client(Protocol):
    """The connection from which a command comes."""

    negotiated: bool
    """Whether it may give commands, and is told of events."""

    @property
    def session(self) -> Session:
        """Who it is."""
        ...

    def negotiate(self, *, oob: bool) -> None:
        """Negotiation is complete.

        @param oob: whether the client may try commands out of band; there is none that can be
        """
        ...

    def quit(self) -> Deferred[None]:
        """Stops the daemon once this is answered."""
        ...


@dataclass(frozen=True)
class Command:
    """One command: `handler` takes the queue, the client, and by name each argument that was given."""

    name: str
    arguments: tuple[Argument, ...]
    permission: Role
    doc: str
    handler: Callable[..., object]


# Handlers; each returns what is replied, or a Deferred of it


def _capabilities(queue: QmpQueue, client: Client, enable: list[str] | None = None) -> dict[str, object]:
    if client.negotiated:
        raise QmpError("Capabilities negotiation is already complete, command ignored", COMMAND_NOT_FOUND)
    client.negotiate(oob="oob" in (enable or ()))
    return {}


def _query_commands(queue: QmpQueue, client: Client) -> object:
    return [{"name": name} for name in COMMANDS]


def _query_version(queue: QmpQueue, client: Client) -> object:
    return message.version()


def _query_jobs(queue: QmpQueue, client: Client) -> object:
    return (_row(info, "id", _JOB_MEMBERS) for info in queue.job_infos())


def _query_block_jobs(queue: QmpQueue, client: Client) -> object:
    return (_row(info, "device", _BLOCK_JOB_MEMBERS) for info in queue.job_infos())


def _quit(queue: QmpQueue, client: Client) -> Deferred[dict[str, object]]:
    return client.quit().addCallback(lambda _: {})


_OURS = {name: name for name in ("name", "priority", "opstatus", "group")}
_JOB_MEMBERS = {
    **{name: name for name in ("type", "status", "current-progress", "total-progress", "error")},
    **_OURS,
}
_BLOCK_JOB_MEMBERS = {
    "len": "total-progress",
    "offset": "current-progress",
    **{name: name for name in ("type", "status", "busy", "paused", "ready", "speed")},
    **{name: name for name in ("auto-finalize", "auto-dismiss", "error")},
    **_OURS,
}


def _row(info: JobInfo, identity: str, members: Mapping[str, str]) -> dict[str, object]:
    """Describes a job by some members; what it has not is left out."""
    row: dict[str, object] = {identity: f"job{info['id']}"}
    if identity == "device":
        row["io-status"] = "ok"
    row.update((name, info[source]) for name, source in members.items() if info.get(source) is not None)
    return row


def _handler(
    call: Callable[..., Deferred[None]], argument: str, lost: Callable[[str], QmpError]
) -> Callable[..., object]:
    """Makes the handler of a verb.

    @param call: takes the queue, the job's id, and by name the other arguments
    @param argument: which argument names the job
    @param lost: makes the error if there is no such job, from how it was named
    """

    def handler(queue: QmpQueue, client: Client, **arguments: Any) -> Deferred[dict[str, object]]:
        named: str = arguments.pop(argument)
        match = _JOB_ID.fullmatch(named)
        if match is None or int(match[1]) > MAX_ID:
            raise lost(named)

        def refused(failure: Failure) -> dict[str, object]:
            failure.trap(JobLost)
            raise lost(named)

        try:
            return call(queue, int(match[1]), **arguments).addCallbacks(lambda _: {}, refused)
        except JobLost:
            raise lost(named) from None

    return handler


def _submit(queue: QmpQueue, client: Client, ops: list[object], **options: object) -> Deferred[dict[str, object]]:
    def identity(results: list[int | GenericError | None]) -> dict[str, object]:
        (result,) = results
        if isinstance(result, GenericError):
            raise result
        return {"id": f"job{result}"}

    return _submit_all(queue, client, [ops], options).addCallback(identity)


def _submit_many(queue: QmpQueue, client: Client, jobs: list[object], **options: object) -> Deferred[dict[str, object]]:
    def identities(results: list[int | GenericError | None]) -> dict[str, object]:
        return {"ids": [{"error": str(one)} if isinstance(one, GenericError) else f"job{one}" for one in results]}

    return _submit_all(queue, client, jobs, options).addCallback(identities)


def _submit_all(
    queue: QmpQueue, client: Client, jobs: list[object], options: dict[str, object]
) -> Deferred[list[int | GenericError | None]]:
    session = client.session
    return queue.submit(jobs, options, uid=session.peer.uid, admin=session.role is Role.ADMIN)


# Arguments that several commands have

_ID = Argument("id", TEXT, "the job, as in job42")
_DEVICE = Argument("device", TEXT, "the job, as in job42")
_JOB_OPTIONS = (
    Argument("name", TEXT, "what to call it", required=False),
    Argument("auto-finalize", BOOLEAN, "false: wait for job-finalize when the work is done (true)", required=False),
    Argument("auto-dismiss", BOOLEAN, "true: let go of it when it has ended (false)", required=False),
    Argument("request-id", TEXT, "the same text again gives the same job again", required=False),
)

_FORCE = Argument("force", BOOLEAN, "true: cancel in any case, as job-cancel does (false)", required=False)
_SPEED = Argument("speed", Integer(), "bytes per second, 0 for no limit")
_OPS = Argument("ops", LIST, "opcodes, each an object with OP_ID and its parameters")
_JOBS = Argument("jobs", ListOf(LIST_OR_OBJECT), "each a list of opcodes, or a description with the member ops")
_GROUP = Argument("group", BOOLEAN_OR_TEXT, "true or a name: they succeed or fail together (false)", required=False)
_CAPABILITIES = Argument(
    "enable",
    # No command runs out of band, so it makes no difference whether a client wants that.
    ListOf(Word(("oob",))),
    "capabilities to use",
    required=False,
)


def _job(verb: str, doc: str, call: Callable[..., Deferred[None]]) -> Command:
    return Command(f"job-{verb}", (_ID,), Role.OPERATOR, doc, _handler(call, "id", lambda _: job_not_found()))


def _block_job(
    verb: str, doc: str, call: Callable[..., Deferred[None]], job: Argument = _DEVICE, *others: Argument
) -> Command:
    return Command(
        f"block-job-{verb}", (job, *others), Role.OPERATOR, doc, _handler(call, job.name, block_job_not_found)
    )


def _pause(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.pause(job_id)


def _resume(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.resume(job_id)


def _cancel(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.cancel(job_id, True)


def _soft_cancel(queue: QmpQueue, job_id: int, force: bool = False) -> Deferred[None]:
    return queue.cancel(job_id, force)


def _complete(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.complete(job_id)


def _finalize(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.finalize(job_id)


def _dismiss(queue: QmpQueue, job_id: int) -> Deferred[None]:
    return queue.dismiss(job_id)


def _set_speed(queue: QmpQueue, job_id: int, speed: int) -> Deferred[None]:
    return queue.set_speed(job_id, speed)


_TABLE = (
    Command("qmp_capabilities", (_CAPABILITIES,), Role.READER, "Begins the session.", _capabilities),
    Command("query-commands", (), Role.READER, "Lists these commands.", _query_commands),
    Command("query-version", (), Role.READER, "Says which jqueue this is.", _query_version),
    Command("query-jobs", (), Role.READER, "Describes every job, the newest first.", _query_jobs),
    Command("query-block-jobs", (), Role.READER, "Describes every job as a block job.", _query_block_jobs),
    _job("pause", "Pauses a job.", _pause),
    _job("resume", "Lets a paused job go on.", _resume),
    _job("cancel", "Cancels a job.", _cancel),
    _job("complete", "Tells a job that is ready to come to its end.", _complete),
    _job("finalize", "Finalises a pending job, and with it its group.", _finalize),
    _job("dismiss", "Lets go of a concluded job.", _dismiss),
    _block_job("pause", "As job-pause.", _pause),
    _block_job("resume", "As job-resume.", _resume),
    _block_job("cancel", "Cancels a job; one that is ready keeps its result.", _soft_cancel, _DEVICE, _FORCE),
    _block_job("complete", "As job-complete.", _complete),
    _block_job("finalize", "As job-finalize.", _finalize, _ID),
    _block_job("dismiss", "As job-dismiss.", _dismiss, _ID),
    _block_job("set-speed", "Limits the speed of a job.", _set_speed, _DEVICE, _SPEED),
    Command("quit", (), Role.ADMIN, "Cancels every job and ends the daemon.", _quit),
    Command("__org.jqueue_submit", (_OPS, *_JOB_OPTIONS), Role.OPERATOR, "Submits a job.", _submit),
    Command(
        "__org.jqueue_submit-many", (_JOBS, *_JOB_OPTIONS, _GROUP), Role.OPERATOR, "Submits several.", _submit_many
    ),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _TABLE}
"""Every command, by name."""
