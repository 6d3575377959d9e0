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
        help="Cancel jobs; one that runs is asked to stop, and is canceling until it has",
        example="jqueue cancel 17 20-25",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser, destructive=True)
    parser.add_argument("--kill", action="store_true", help="end a command at once, without asking it first")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Cancels them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import ALL, FINALIZED

    def cancel(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("CancelJob", job_id, args.kill)
        return done, text

    return act(terminal, select(args, terminal, [name for name in ALL if name not in FINALIZED]), cancel)
