"""`jqueue complete`: brings jobs that are ready to their end."""

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
        "complete",
        run,
        help="Tell jobs that are ready to come to their end and make it count; `cancel --soft` ends them without that",
        example="jqueue complete 17 && jqueue wait 17",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser, destructive=True)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Completes them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.lifecycle import COMPLETE, VERBS

    def complete(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("CompleteJob", job_id)
        return done, text

    return act(terminal, select(args, terminal, lifecycles=VERBS[COMPLETE]), complete)
