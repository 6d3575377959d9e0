"""`jqueue resume`: lets paused jobs go on."""

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
        "resume",
        run,
        help="Let paused jobs go on, each as soon as a worker is free",
        example="jqueue resume 17",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Resumes them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import ALL, FINALIZED

    def resume(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("ResumeJob", job_id)
        return done, text

    return act(terminal, select(args, terminal, [name for name in ALL if name not in FINALIZED]), resume)
