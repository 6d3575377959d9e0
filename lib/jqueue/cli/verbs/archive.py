"""`jqueue archive`: puts finished jobs away."""

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
        "archive",
        run,
        help="Put finished jobs into the archive; `list -a` and `info` still find them",
        example="jqueue archive 1-100",
        json="a list of maps, one a job: id ok message",
    )
    add_selection(parser, destructive=True)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Archives them."""
    from jqueue.cli.acting import act
    from jqueue.jobs.status import FINALIZED

    def archive(job_id: int) -> tuple[bool, str]:
        if terminal.connection().call("ArchiveJob", job_id):
            return True, "archived"
        return False, f"not archived: it has not ended, or is not in the queue; `jqueue list {job_id}` shows it"

    return act(terminal, select(args, terminal, FINALIZED), archive)
