"""`jqueue retry`: failed or cancelled jobs once more, as new jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.selection import add_selection, select
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "retry",
        run,
        help="Submit failed or cancelled jobs again, from the opcode that failed, and a group as a whole; the new ids"
        " go to stdout",
        example="jqueue retry 17",
        json="a list of maps, one a job: id (the old one) new error",
    )
    add_selection(parser, destructive=True)
    parser.add_argument("--all", action="store_true", help="run all their opcodes again, also those that succeeded")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Submits them again."""
    from jqueue import errors

    results = []
    ids = select(args, terminal, ("error", "canceled"))
    members = dict(terminal.connection().call("QueryJobs", ids, ["id", "members"])) if ids else {}
    groups: dict[tuple[int, int], int] = {}
    for job_id in ids:
        new, fault = None, None
        group = tuple(members.get(job_id) or (job_id, job_id))
        try:
            # Who belongs to a group goes again with all of it, under ids that are as far apart.
            if group not in groups:
                groups[group] = terminal.connection().call("RetryJob", job_id, args.all) - job_id
            new = job_id + groups[group]
        except (errors.JobLost, errors.OpPrereqError) as error:
            fault = error.text
            terminal.warn(f"jqueue: job {job_id}: {fault}")
        results.append({"id": job_id, "new": new, "error": fault})
        if new is not None and not terminal.json:
            terminal.say(f"job {job_id} goes again as job {new}")
            terminal.out(str(new))
    if terminal.json:
        terminal.emit(results)
    return Exit.ERROR if any(result["error"] for result in results) else Exit.OK
