"""The one table of methods: names, parameters, results and permissions, as every protocol has them.

Names, arguments and results of Ganeti's LUXI where it has the method, ours in the same style.
What a method does lives in the queue; how arguments are checked in `jqueue.rpc.parameters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from jqueue.errors import GenericError, OpPrereqError
from jqueue.opcodes.kinds import AnyOf, Boolean, Fields, Kind, ListOf, Null, Number, Text
from jqueue.rpc.api import QueueApi
from jqueue.rpc.parameters import AsGiven, AtLeast, Job, JobId, JobIds, Parameter
from jqueue.rpc.peer import Role
from jqueue.rpc.query import query, query_fields
from jqueue.rpc.session import Session

T = TypeVar("T")

MAX_LOG_ENTRIES = 1000
"""Log entries in one answer."""


@dataclass(frozen=True)
class Method:
    """One method: `handler` takes the queue, the session, and a value for each parameter."""

    name: str
    parameters: tuple[Parameter, ...]
    result: str
    permission: Role
    doc: str
    handler: Callable[..., object]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"


# Handlers, in the order of the table; each returns the result or a Deferred of it


def _submit_job(queue: QueueApi, session: Session, ops: object, options: dict[str, object]) -> Deferred[int | None]:
    def only(results: list[int | GenericError | None]) -> int | None:
        result = results[0]
        if isinstance(result, GenericError):
            raise result
        return result

    return _submit(queue, session, [ops], options).addCallback(only)


def _submit_many(
    queue: QueueApi, session: Session, jobs: list[object], options: dict[str, object]
) -> Deferred[list[tuple[bool, object]]]:
    def pairs(results: list[int | GenericError | None]) -> list[tuple[bool, object]]:
        return [(False, str(one)) if isinstance(one, GenericError) else (True, one) for one in results]

    return _submit(queue, session, jobs, options).addCallback(pairs)


def _submit(
    queue: QueueApi, session: Session, jobs: list[object], options: dict[str, object]
) -> Deferred[list[int | GenericError | None]]:
    return queue.submit(jobs, options, uid=session.peer.uid, admin=session.role is Role.ADMIN)


def _query_jobs(queue: QueueApi, session: Session, ids: list[int], fields: list[str], qfilter: object) -> object:
    return queue.query_jobs(ids or None, fields, qfilter)


def _query_fields(queue: QueueApi, session: Session, what: str, names: list[str] | None) -> object:
    return query_fields(what, names)


def _query(queue: QueueApi, session: Session, what: str, fields: list[str], qfilter: object) -> object:
    return query(queue, what, fields, qfilter)


def _wait(
    queue: QueueApi,
    session: Session,
    job_id: int,
    fields: list[str],
    prev_info: object,
    prev_serial: int | None,
    timeout: float,
) -> object:
    gone = session.until_closed()

    def forget(result: T) -> T:
        session.forget(gone)
        return result

    return queue.wait_for_change(job_id, fields, prev_info, prev_serial, timeout, gone).addBoth(forget)


def _cancel(queue: QueueApi, session: Session, job_id: int, kill: bool, soft: bool) -> object:
    return queue.cancel(job_id, kill, soft)


def _pause(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.pause(job_id)


def _resume(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.resume(job_id)


def _change_priority(queue: QueueApi, session: Session, job_id: int, priority: int) -> object:
    return queue.change_priority(job_id, priority, admin=session.role is Role.ADMIN)


def _archive(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.archive(job_id)


def _auto_archive(queue: QueueApi, session: Session, age: float, timeout: float) -> object:
    return queue.auto_archive(age, timeout)


def _set_drain(queue: QueueApi, session: Session, drained: bool, reason: str) -> object:
    return queue.set_drain(reason if drained else None)


def _retry(queue: QueueApi, session: Session, job_id: int, everything: bool) -> object:
    return queue.retry(job_id, everything, session.peer.uid)


def _job_log(queue: QueueApi, session: Session, job_id: int, newer_than: int, limit: int) -> object:
    return queue.job_log(job_id, newer_than, min(limit, MAX_LOG_ENTRIES))


def _explain(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.explain(job_id)


def _query_locks(queue: QueueApi, session: Session) -> object:
    return queue.query_locks()


def _query_workers(queue: QueueApi, session: Session) -> object:
    return queue.query_workers()


def _query_status(queue: QueueApi, session: Session) -> object:
    return queue.query_status()


def _who_am_i(queue: QueueApi, session: Session) -> object:
    return {"uid": session.peer.uid, "pid": session.peer.pid, "role": str(session.role)}


def _subscribe(queue: QueueApi, session: Session, options: dict[str, Any]) -> bool:
    if session.notify is None:
        raise OpPrereqError("this protocol has no notifications; use WaitForJobChange")
    jobs = options.get("jobs")
    end = queue.subscribe(
        session.notify,
        jobs=None if jobs is None else set(jobs),
        changes=options.get("changes", True),
        log=options.get("log", False),
    )
    session.subscribed(end)
    return True


def _unsubscribe(queue: QueueApi, session: Session) -> bool:
    session.subscribed(None)
    return True


# Parameters that several methods have

_NAMES = ListOf(Text())
_JOB_OPTIONS: dict[str, Kind] = {
    "name": AnyOf([Text(), Null()]),
    "auto_finalize": Boolean(),
    "auto_dismiss": Boolean(),
    "request_id": AnyOf([Text(), Null()]),
    "dry_run": Boolean(),
}
_SUBMIT_OPTIONS = Fields(_JOB_OPTIONS, frozenset())
_SUBMIT_MANY_OPTIONS = Fields({**_JOB_OPTIONS, "group": AnyOf([Boolean(), Text(), Null()])}, frozenset())
_SUBSCRIPTION = Fields({"jobs": AnyOf([JobIds(), Null()]), "changes": Boolean(), "log": Boolean()}, frozenset())

_ID = Parameter("id", JobId(), "the job")
_FIELDS = Parameter("fields", _NAMES, "names of fields, see QueryFields")
_FILTER = Parameter("qfilter", AsGiven(), "filter lists as in Ganeti, null for all", None)

_BOOL_TEXT = "[whether it was done, what was done or why not]"

_TABLE = (
    Method(
        "SubmitJob",
        (
            Parameter("ops", Job(), "a list of opcode maps, or a description map with the key ops"),
            Parameter("options", _SUBMIT_OPTIONS, "name, auto_finalize, auto_dismiss, request_id, dry_run", {}),
        ),
        "the job's id, once it is durable; null in a dry run, which checks and no more",
        Role.OPERATOR,
        "Submits one job.",
        _submit_job,
    ),
    Method(
        "SubmitManyJobs",
        (
            Parameter("jobs", ListOf(Job()), "descriptions, each as for SubmitJob"),
            Parameter("options", _SUBMIT_MANY_OPTIONS, "as for SubmitJob, and group: true or a name", {}),
        ),
        "for each job [true, id], or [false, what is wrong with its dependencies]",
        Role.OPERATOR,
        "Submits several jobs, which may depend on each other; if one is not valid, none is submitted.",
        _submit_many,
    ),
    Method(
        "QueryJobs",
        (Parameter("ids", JobIds(), "the jobs; null or empty for all", []), _FIELDS, _FILTER),
        "for each job a list of values; of a job that does not exist the id and nulls",
        Role.READER,
        "Gives fields of jobs, archived ones too if they are named.",
        _query_jobs,
    ),
    Method(
        "QueryFields",
        (
            Parameter("what", Text(), "job or lock"),
            Parameter("names", _NAMES, "names of fields, null for all", None),
        ),
        "{fields: [{name, title, kind, doc}]}",
        Role.READER,
        "Describes the fields that can be asked for.",
        _query_fields,
    ),
    Method(
        "Query",
        (Parameter("what", Text(), "job or lock"), _FIELDS, _FILTER),
        "{fields: definitions, data: rows of [status, value]}",
        Role.READER,
        "Gives a table with its definitions.",
        _query,
    ),
    Method(
        "WaitForJobChange",
        (
            _ID,
            _FIELDS,
            Parameter("prev_info", AsGiven(), "the values that the caller knows", None),
            Parameter("prev_serial", AtLeast(-1), "serial of the last log entry that the caller knows", None),
            Parameter("timeout", Number(), "seconds", 60.0),
        ),
        "[values, log entries], unchanged after the timeout; null if there is no such job",
        Role.READER,
        "Waits until a job differs from what the caller knows.",
        _wait,
    ),
    Method(
        "CancelJob",
        (
            _ID,
            Parameter("kill", Boolean(), "end a running command at once", False),
            Parameter("soft", Boolean(), "let a job that has converged keep its result", False),
        ),
        _BOOL_TEXT,
        Role.OPERATOR,
        "Cancels a job.",
        _cancel,
    ),
    Method(
        "PauseJob",
        (_ID,),
        _BOOL_TEXT,
        Role.OPERATOR,
        "Pauses a job: running code at its next pause point, where it gives up its worker and keeps its locks.",
        _pause,
    ),
    Method("ResumeJob", (_ID,), _BOOL_TEXT, Role.OPERATOR, "Lets a paused job go on.", _resume),
    Method(
        "ChangeJobPriority",
        (_ID, Parameter("priority", AtLeast(-20), "-10, 0 or 10; for an administrator -20 to 19")),
        _BOOL_TEXT,
        Role.OPERATOR,
        "Changes the priority of what has not run yet.",
        _change_priority,
    ),
    Method("ArchiveJob", (_ID,), "whether it was archived", Role.OPERATOR, "Archives a finished job.", _archive),
    Method(
        "AutoArchiveJobs",
        (
            Parameter("age", Number(), "seconds since the end; -1 for every finished job"),
            Parameter("timeout", Number(), "seconds this may take", 60.0),
        ),
        "[how many were archived, how many were not looked at]",
        Role.OPERATOR,
        "Archives jobs that finished long ago.",
        _auto_archive,
    ),
    Method(
        "SetDrainFlag",
        (
            Parameter("drained", Boolean(), "whether new jobs are refused"),
            Parameter("reason", Text(), "told to those who are refused", ""),
        ),
        "true",
        Role.ADMIN,
        "Drains the queue, or opens it again.",
        _set_drain,
    ),
    Method(
        "RetryJob",
        (_ID, Parameter("all", Boolean(), "also what has succeeded", False)),
        "the id of the new job",
        Role.OPERATOR,
        "Submits what did not succeed of a finished job again.",
        _retry,
    ),
    Method(
        "QueryJobLog",
        (
            _ID,
            Parameter("newer_than", AtLeast(-1), "serial after which to begin", 0),
            Parameter("limit", AtLeast(1), f"entries, at most {MAX_LOG_ENTRIES}", MAX_LOG_ENTRIES),
        ),
        "[opcode index, serial, [seconds, microseconds], type, message] for each, oldest first",
        Role.READER,
        "Reads the log of a job.",
        _job_log,
    ),
    Method(
        "ExplainJob",
        (_ID,),
        "{id, status, held: [{name, mode}], reasons: [{kind, text, ...}]}",
        Role.READER,
        "Says what a job waits for, and who has it; and which locks it has itself.",
        _explain,
    ),
    Method(
        "QueryLocks",
        (),
        "[{name, mode, owners, pending: [[mode, owners]]}]",
        Role.READER,
        "Gives every lock that is held or wanted.",
        _query_locks,
    ),
    Method(
        "QueryWorkers",
        (),
        "{size, running, jobs: [{id, op, summary, state, since, ...}]}",
        Role.READER,
        "Says what the workers do.",
        _query_workers,
    ),
    Method(
        "QueryStatus",
        (),
        "{version, pid, uptime, jobs: {status: count}, drained, journal, job_files, ...}",
        Role.READER,
        "Says how the daemon is.",
        _query_status,
    ),
    Method(
        "WhoAmI",
        (),
        "{uid, pid, role}; role is reader, operator or admin",
        Role.READER,
        "Says whom the daemon takes the client for.",
        _who_am_i,
    ),
    Method(
        "Subscribe",
        (Parameter("options", _SUBSCRIPTION, "jobs (null for all), changes (true), log (false)", {}),),
        "true; then notifications JobChanged(event) and JobLog(id, entries)",
        Role.READER,
        "Tells of events from now on; replaces the subscription this connection had.",
        _subscribe,
    ),
    Method("Unsubscribe", (), "true", Role.READER, "Ends the subscription of this connection.", _unsubscribe),
)

METHODS: Mapping[str, Method] = {method.name: method for method in _TABLE}
"""Every method, by name."""
