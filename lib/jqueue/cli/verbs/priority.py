"""`jqueue priority`: which jobs go first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.selection import add_selection, select
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "priority",
        run,
        help="Change the priority of jobs that have not ended",
        example="jqueue priority high 17",
        json="a list of maps, one a job: id ok message",
    )
    parser.add_argument("priority", metavar="PRIO", help="low, normal, high, or a number from -20 (most urgent) to 19")
    add_selection(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Changes it."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import ALL, FINALIZED

    priority = read_priority(args.priority)

    def change(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("ChangeJobPriority", job_id, priority)
        return done, text

    return act(terminal, select(args, terminal, [name for name in ALL if name not in FINALIZED]), change)


def read_priority(text: str) -> int:
    """Reads a priority by name or number.

    @raise errors.OpPrereqError: if it is neither
    """
    from jqueue import errors
    from jqueue.cli.verbs.submit import PRIORITIES
    from jqueue.jobs.status import PRIORITY_MAX, PRIORITY_MIN

    if text in PRIORITIES:
        return PRIORITIES[text]
    if text.lstrip("-").isdecimal() and PRIORITY_MIN <= int(text) <= PRIORITY_MAX:
        return int(text)
    names = ", ".join(PRIORITIES)
    raise errors.OpPrereqError(
        f"'{text}' is no priority; write {names}, or a number from {PRIORITY_MIN} to {PRIORITY_MAX}"
    )
