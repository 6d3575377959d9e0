"""`jqueue cancel`: stops jobs."""

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
        "cancel",
        run,
        help="Cancel jobs, each with its whole group; one that runs is asked to stop, and is canceling until it has",
        example="jqueue cancel 17 20-25",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser, destructive=True)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--kill", action="store_true", help="end a command at once, without asking it first")
    how.add_argument(
        "--soft",
        action="store_true",
        help="let a job that is ready end with success and what it has so far, but not switch over; any other job "
        "is cancelled as ever",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Cancels them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import ALL, FINALIZED

    def cancel(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("CancelJob", job_id, args.kill, args.soft)
        return done, text

    ids = select(args, terminal, [name for name in ALL if name not in FINALIZED])
    return act(terminal, ids, cancel, whole_group=not args.soft)
