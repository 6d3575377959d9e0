"""`jqueue pause`: holds jobs up."""

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
        "pause",
        run,
        help="Hold jobs up until they are resumed; one that runs stops at its next pause point and keeps its locks",
        example="jqueue pause 17",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Pauses them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import ALL, FINALIZED

    def pause(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("PauseJob", job_id)
        return done, text

    return act(terminal, select(args, terminal, [name for name in ALL if name not in FINALIZED]), pause)
