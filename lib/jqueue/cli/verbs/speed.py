"""`jqueue speed`: how fast jobs may go."""

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
        "speed",
        run,
        help="Limit the speed of jobs that have not ended, as far as their opcodes keep to a limit",
        example="jqueue speed 10M 17",
        json="a list of maps, one a job: id ok message",
    )
    parser.add_argument(
        "rate",
        metavar="RATE",
        help="bytes a second: 65536, 512K, 10M, 1.5G (powers of 1024); 0 or unlimited for no limit",
    )
    add_selection(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Limits it."""
    from jqueue.cli.acting import act
    from jqueue.cli.rates import parse_rate
    from jqueue.jobs.status import ALL, FINALIZED

    rate = parse_rate(args.rate)

    def limit(job_id: int) -> tuple[bool, str]:
        done, text = terminal.connection().call("SetJobSpeed", job_id, rate)
        return done, text

    return act(terminal, select(args, terminal, [name for name in ALL if name not in FINALIZED]), limit)
