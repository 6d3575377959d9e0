"""The one table of methods: names, parameters, results and permissions, as every protocol has them.

Names, arguments and results of Ganeti's LUXI where it has the method, ours in the same style.
How each calls the queue is in `jqueue.rpc.handlers`, how arguments are checked in `jqueue.rpc.parameters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jqueue.opcodes.kinds import AnyOf, Boolean, Fields, Kind, ListOf, Null, Number, Text
from jqueue.rpc import handlers
from jqueue.rpc.parameters import AsGiven, AtLeast, Job, JobId, JobIds, Parameter
from jqueue.rpc.peer import Role


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
_SUBSCRIPTION = Fields(
    {"jobs": AnyOf([JobIds(), Null()]), "changes": Boolean(), "log": Boolean(), "lifecycle": Boolean()}, frozenset()
)

_ID = Parameter("id", JobId(), "the job")
_FIELDS = Parameter("fields", _NAMES, "names of fields, see QueryFields")
_FILTER = Parameter("qfilter", AsGiven(), "filter lists as in Ganeti, null for all", None)

_BOOL_TEXT = "[whether it was done, what was done or why not]"
_NOTED = "[whether it was noted, which is not yet done; what comes of it, or why it was refused]"

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
        handlers.submit_job,
    ),
    Method(
        "SubmitManyJobs",
        (
            Parameter("jobs", ListOf(Job()), "descriptions, each as for SubmitJob"),
            Parameter(
                "options",
                _SUBMIT_MANY_OPTIONS,
                "as for SubmitJob, and group: true or a name, for jobs that succeed or fail together",
                {},
            ),
        ),
        "for each job [true, id], or [false, what is wrong with its dependencies]",
        Role.OPERATOR,
        "Submits several jobs, which may depend on each other; if one is not valid, none is submitted.",
        handlers.submit_many,
    ),
    Method(
        "QueryJobs",
        (Parameter("ids", JobIds(), "the jobs; null or empty for all", []), _FIELDS, _FILTER),
        "for each job a list of values; of a job that does not exist the id and nulls",
        Role.READER,
        "Gives fields of jobs, archived ones too if they are named.",
        handlers.query_jobs,
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
        handlers.query_fields,
    ),
    Method(
        "Query",
        (Parameter("what", Text(), "job or lock"), _FIELDS, _FILTER),
        "{fields: definitions, data: rows of [status, value]}",
        Role.READER,
        "Gives a table with its definitions.",
        handlers.query,
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
        handlers.wait,
    ),
    Method(
        "CancelJob",
        (
            _ID,
            Parameter("kill", Boolean(), "end a running command at once", False),
            Parameter(
                "soft",
                Boolean(),
                "have a job that is ready end with success and what it has so far, but not switch over; "
                "for any other job it makes no difference",
                False,
            ),
        ),
        _NOTED,
        Role.OPERATOR,
        "Cancels a job, and with it the others of its group; running code is asked to stop, and is not waited for.",
        handlers.cancel,
    ),
    Method(
        "PauseJob",
        (_ID,),
        _NOTED,
        Role.OPERATOR,
        "Pauses a job: running code at its next pause point, where it gives up its worker and keeps its locks.",
        handlers.pause,
    ),
    Method("ResumeJob", (_ID,), _NOTED, Role.OPERATOR, "Lets a paused job go on.", handlers.resume),
    Method(
        "SetJobSpeed",
        (_ID, Parameter("speed", AtLeast(0), "bytes a second (what the job counts its progress in); 0 for no limit")),
        _NOTED,
        Role.OPERATOR,
        "Limits the speed of a job that has not ended, as far as its opcodes keep to a limit; a raised limit acts at "
        "once, a lower one from the next piece of work on.",
        handlers.set_speed,
    ),
    Method(
        "CompleteJob",
        (_ID,),
        _NOTED,
        Role.OPERATOR,
        "Tells a job that is ready to come to its end; one that is paused meanwhile does so when it is resumed.",
        handlers.complete,
    ),
    Method(
        "FinalizeJob",
        (_ID,),
        _NOTED,
        Role.OPERATOR,
        "Finalises a pending job, and with it its whole group; that may still fail, which the status says then.",
        handlers.finalize,
    ),
    Method(
        "ChangeJobPriority",
        (_ID, Parameter("priority", AtLeast(-20), "-10, 0 or 10; for an administrator -20 to 19")),
        _BOOL_TEXT,
        Role.OPERATOR,
        "Changes the priority of what has not run yet.",
        handlers.change_priority,
    ),
    Method(
        "ArchiveJob", (_ID,), "whether it was archived", Role.OPERATOR, "Archives a finished job.", handlers.archive
    ),
    Method(
        "AutoArchiveJobs",
        (
            Parameter("age", Number(), "seconds since the end; -1 for every finished job"),
            Parameter("timeout", Number(), "seconds this may take", 60.0),
        ),
        "[how many were archived, how many were not looked at]",
        Role.OPERATOR,
        "Archives jobs that finished long ago.",
        handlers.auto_archive,
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
        handlers.set_drain,
    ),
    Method(
        "RetryJob",
        (_ID, Parameter("all", Boolean(), "also what has succeeded", False)),
        "the id of the new job",
        Role.OPERATOR,
        "Submits what did not succeed of a finished job again.",
        handlers.retry,
    ),
    Method(
        "QueryJobLog",
        (
            _ID,
            Parameter("newer_than", AtLeast(-1), "serial after which to begin", 0),
            Parameter("limit", AtLeast(1), f"entries, at most {handlers.MAX_LOG_ENTRIES}", handlers.MAX_LOG_ENTRIES),
        ),
        "[opcode index, serial, [seconds, microseconds], type, message] for each, oldest first",
        Role.READER,
        "Reads the log of a job.",
        handlers.job_log,
    ),
    Method(
        "ExplainJob",
        (_ID,),
        "{id, status, held: [{name, mode}], reasons: [{kind, text, ...}]}",
        Role.READER,
        "Says what a job waits for, and who has it; and which locks it has itself.",
        handlers.explain,
    ),
    Method(
        "QueryLocks",
        (),
        "[{name, mode, owners, pending: [[mode, owners]]}]",
        Role.READER,
        "Gives every lock that is held or wanted.",
        handlers.query_locks,
    ),
    Method(
        "QueryWorkers",
        (),
        "{size, running, jobs: [{id, op, summary, state, since, ...}]}",
        Role.READER,
        "Says what the workers do.",
        handlers.query_workers,
    ),
    Method(
        "QueryStatus",
        (),
        "{version, pid, uptime, jobs: {status: count}, drained, journal, job_files, ...}",
        Role.READER,
        "Says how the daemon is.",
        handlers.query_status,
    ),
    Method(
        "WhoAmI",
        (),
        "{uid, pid, role}; role is reader, operator or admin",
        Role.READER,
        "Says whom the daemon takes the client for.",
        handlers.who_am_i,
    ),
    Method(
        "Subscribe",
        (
            Parameter(
                "options", _SUBSCRIPTION, "jobs (null for all), changes (true), log (false), lifecycle (false)", {}
            ),
        ),
        "true; then notifications JobChanged(event), JobLog(id, entries) and, with lifecycle, JobLifecycle(event) for "
        "each step in QEMU's words",
        Role.READER,
        "Tells of events from now on; replaces the subscription this connection had.",
        handlers.subscribe,
    ),
    Method("Unsubscribe", (), "true", Role.READER, "Ends the subscription of this connection.", handlers.unsubscribe),
)

METHODS: Mapping[str, Method] = {method.name: method for method in _TABLE}
"""Every method, by name."""
