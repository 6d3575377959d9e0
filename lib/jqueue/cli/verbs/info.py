"""`jqueue info`: everything about one job, for people."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

FIELDS = (
    *("id", "name", "status", "lifecycle", "phase", "priority", "owner", "group", "members", "parent", "archived"),
    *("paused", "completion", "auto_finalize", "auto_dismiss", "received_ts", "start_ts", "end_ts", "progress"),
    *("speed", "log_serial", "summary"),
    *("ops", "opstatus", "oppriority", "opstart", "opexec", "opend", "opresult"),
)
_COMMON = frozenset({"OP_ID", "depends", "locks", "lock_paths", "reason", "debug_level", "priority"})
_LONGEST_VALUE = 400
_TOLD = {"complete": "to complete", "leave": "to end without switching over (cancel --soft)"}
"""What a job was told when it was ready, in words."""


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "info",
        run,
        help="Show everything about one job",
        example="jqueue info 17",
        json="a map: the fields of the job as for list -o (id name status ... ops opstatus opresult),\n"
        "  locks (name mode held), reasons (kind text ...: what it waits for)",
    )
    parser.add_argument("id", metavar="ID", help="the job")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the job."""
    from jqueue.cli.columns import json_of
    from jqueue.cli.results import is_final, lost, query
    from jqueue.cli.selection import one_id

    job_id = one_id(args.id)
    connection = terminal.connection()
    job = query(connection, [job_id], FIELDS)[0]
    if job["status"] is None:
        raise lost(job_id)
    locks: list[dict[str, Any]] = []
    reasons: list[dict[str, Any]] = []
    if not is_final(job["status"]):
        answer = connection.call("ExplainJob", job_id)
        reasons = answer["reasons"]
        locks = [{**lock, "held": True} for lock in answer["held"]]
        locks += [{"name": one["lock"], "mode": one["mode"], "held": False} for one in reasons if "lock" in one]
    if terminal.json:
        terminal.emit({**{name: json_of(name, job[name]) for name in FIELDS}, "locks": locks, "reasons": reasons})
        return Exit.OK
    from jqueue.cli.terminal import printable

    for line in (*_head(job, terminal), *_waiting(locks, reasons), *_opcodes(job, terminal)):
        terminal.out(printable(line))
    return Exit.OK


def _head(job: dict[str, Any], terminal: Terminal) -> Iterator[str]:
    from jqueue.cli.columns import took
    from jqueue.cli.stages import limit_text
    from jqueue.cli.times import date_text, duration_text
    from jqueue.cli.words import progress_text

    status, state = job["status"], job["lifecycle"]
    flags = [name for name in ("archived", "paused", "auto_dismiss") if job[name] and name != state]
    flags += [] if job["auto_finalize"] else ["finalised by hand"]
    where = status if state == status else f"{status} ({state})"
    facts = {
        "Job": f"{job['id']}" + (f"  {job['name']}" if job["name"] else ""),
        "Status": ", ".join([where, *(flag.replace("_", "-") for flag in flags)]),
        "Priority": job["priority"],
        "Owner": None if job["owner"] is None else f"uid {job['owner']}",
        "Group": _group(job),
        "Parent": job["parent"],
        "Received": date_text(job["received_ts"]),
        "Started": date_text(job["start_ts"]) if job["start_ts"] else None,
        "Ended": date_text(job["end_ts"]) if job["end_ts"] else None,
        "Took": duration_text(took(job, terminal.clock.time())) if job["start_ts"] else None,
        "Progress": progress_text(job["progress"]) if job["progress"] else None,
        "Speed": limit_text(job["speed"]) or None,
        "Told": _TOLD.get(job["completion"]),
        "Log": f"`jqueue log {job['id']}` shows it" if job["log_serial"] else "empty",
    }
    return (f"{title + ':':<10} {value}" for title, value in facts.items() if value is not None)


def _group(job: dict[str, Any]) -> str | None:
    """Says in which group a job is, and who else."""
    from jqueue.cli.stages import ids_text

    jobs = f"jobs {ids_text(job['members'])}, which succeed or fail together" if job["members"] else None
    return ": ".join(filter(None, [job["group"], jobs])) or None


def _waiting(locks: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> Iterator[str]:
    from jqueue.cli.words import reason_lines

    for reason in reasons:
        first, *more = reason_lines(reason)
        yield f"{'Because:':<10} {first}"
        yield from (f"{'':<10} {line}" for line in more)
    for lock in locks:
        yield f"{'Lock:':<10} {lock['name']} {lock['mode']} ({'held' if lock['held'] else 'waited for'})"


def _opcodes(job: dict[str, Any], terminal: Terminal) -> Iterator[str]:
    from jqueue.cli.times import duration_text, seconds_of

    for number, op in enumerate(job["ops"]):
        status, result = job["opstatus"][number], job["opresult"][number]
        start, began, end = (seconds_of(job[name][number]) for name in ("opstart", "opexec", "opend"))
        line = f"Opcode {number + 1}/{len(job['ops'])}: {job['summary'][number]}  {status}"
        if status == "success" and _is_undone(job):
            line += ", undone"
        if start is not None and began is not None and began - start >= 0.05:
            line += f", waited {duration_text(began - start)}"
        if began is not None:
            line += f", ran {duration_text((end or terminal.clock.time()) - began)}"
        yield ""
        yield line
        yield from (f"  {name}: {_short(value)}" for name, value in op.items() if name not in _COMMON)
        yield from _relations(op)
        yield from _result(status, result)


def _is_undone(job: dict[str, Any]) -> bool:
    """Whether what a job had done before it failed, or was cancelled, was undone in the end."""
    deferred = not job["auto_finalize"] or job["members"] is not None
    return deferred and job["status"] in ("error", "canceled")


def _relations(op: dict[str, Any]) -> Iterator[str]:
    for job_id, statuses in op.get("depends") or ():
        yield f"  depends on: job {job_id}, ended in {' or '.join(statuses) or 'success or error'}"
    for level, names in (op.get("locks") or {}).items():
        shown = (
            ", ".join(f"{level}/{name} {mode}" for name, mode in names.items()) if isinstance(names, dict) else "all"
        )
        yield f"  locks: {shown}"


def _result(status: str, result: object) -> Iterator[str]:
    from jqueue import errors

    if status in ("error", "canceled") and result is not None:
        yield f"  {status}: {' '.join(errors.decode(result).text.split())}"
    elif status == "success":
        yield f"  result: {_short(result)}"


def _short(value: object) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"
