"""`jqueue finalize`: makes the work of pending jobs count."""

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
        "finalize",
        run,
        help="Make the work of pending jobs count, each with its whole group; that may still fail, `wait` says so",
        example="jqueue finalize 17 && jqueue wait 17",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser, destructive=True)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Finalises them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.lifecycle import FINALIZE, VERBS

    def finalize(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("FinalizeJob", job_id)
        return done, text

    return act(terminal, select(args, terminal, lifecycles=VERBS[FINALIZE]), finalize, whole_group=True)
