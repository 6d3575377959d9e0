"""`jqueue wait`: until jobs have ended; the exit status says how."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit, of_statuses
from jqueue.cli.selection import add_selection, select
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "wait",
        run,
        help="Wait until jobs have ended, or are at a stage; exit 0 for success, 1 for an error, 3 for a cancellation",
        example="jqueue wait --timeout 1h 17 && echo done",
        json="a list of maps, one a job: id status ended error; also when the time is over",
    )
    add_selection(parser)
    parser.add_argument(
        "--lifecycle", metavar="STATES", help="wait until each has ended, or is in one of these states: ready,pending"
    )
    parser.add_argument("--timeout", metavar="TIME", help="wait no longer, and exit 124: 90, 1h30m")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Waits."""
    from jqueue import errors
    from jqueue.cli.follow import Change, Follower
    from jqueue.cli.results import is_final
    from jqueue.cli.stages import Advice
    from jqueue.cli.times import parse_duration

    deadline = terminal.clock.monotonic() + parse_duration(args.timeout) if args.timeout else None
    stages = _stages(args.lifecycle)
    ids = select(args, terminal)
    jobs = {}
    left = set(ids)
    advice = Advice(terminal)
    follower = Follower(terminal, ids, deadline=deadline)
    terminal.following = list(ids)
    try:
        for event in follower.events() if ids else ():
            terminal.following = follower.unfinished
            if isinstance(event, Change):
                jobs[event.job["id"]] = event.job
                advice.give(event.job["id"], event.needs, event.members)
                if is_final(event.job["status"]):
                    _tell(terminal, event.job)
                if is_final(event.job["status"]) or event.job["lifecycle"] in stages:
                    left.discard(event.job["id"])
                if not left:
                    break
    except errors.WaitTimeout as error:
        terminal.warn(f"jqueue: {error.text}")
        _report(terminal, [jobs[job_id] for job_id in ids if job_id in jobs])
        return Exit.TIMEOUT
    _report(terminal, [jobs[job_id] for job_id in ids])
    return of_statuses(job["status"] for job in jobs.values())


def _stages(text: str | None) -> frozenset[str]:
    from jqueue import errors
    from jqueue.jobs.lifecycle import STATES

    stages = frozenset((text or "").split(",")) - {""}
    for stage in stages.difference(STATES):
        raise errors.OpPrereqError(f"--lifecycle: there is no state {stage!r}; known are {', '.join(STATES)}")
    return stages


def _tell(terminal: Terminal, job: dict[str, object]) -> None:
    from jqueue.cli.results import end_text

    if not terminal.json:
        terminal.out(f"{job['id']} {job['status']}")
        terminal.flush()
        if job["status"] == "error":
            terminal.say(f"job {job['id']}: {end_text(job)}")


def _report(terminal: Terminal, jobs: list[dict[str, object]]) -> None:
    from jqueue.cli.view import change_json

    if terminal.json:
        rows = [change_json(job) for job in jobs]
        terminal.emit([{key: row[key] for key in ("id", "status", "ended", "error")} for row in rows])
