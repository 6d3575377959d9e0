"""`jqueue autoarchive`: puts jobs away that ended long ago."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

_SLICE = 10
"""Seconds of work asked of the daemon in one call."""


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "autoarchive",
        run,
        help="Archive all jobs that ended longer ago than an age",
        example="jqueue autoarchive 1d",
        json="a map: archived unchecked (numbers of jobs)",
    )
    parser.add_argument("age", metavar="AGE", help="6h, 1d12h, a number of seconds, or all")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Archives until the daemon has looked at every job."""
    from jqueue.cli.times import parse_duration
    from jqueue.cli.words import count

    age = -1 if args.age == "all" else int(parse_duration(args.age))
    total, unchecked = terminal.connection().call("AutoArchiveJobs", age, _SLICE)
    archived = total
    while unchecked and archived:
        archived, unchecked = terminal.connection().call("AutoArchiveJobs", age, _SLICE)
        total += archived
    if terminal.json:
        terminal.emit({"archived": total, "unchecked": unchecked})
    else:
        rest = f"; {unchecked} not looked at, run it again" if unchecked else ""
        terminal.say(f"{count(total, 'job')} archived{rest}")
    return Exit.OK
