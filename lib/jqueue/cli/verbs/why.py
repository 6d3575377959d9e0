"""`jqueue why`: what a job waits for, and who has it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "why",
        run,
        help="Say what a job waits for, and who has it",
        example="jqueue why 17",
        json="a map: id status held (each name mode) reasons (each with kind text, and what belongs to the kind)",
    )
    parser.add_argument("id", metavar="ID", help="the job")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Explains the job's state."""
    from jqueue.cli.selection import one_id
    from jqueue.cli.terminal import printable
    from jqueue.cli.words import reason_lines

    answer = terminal.connection().call("ExplainJob", one_id(args.id))
    if terminal.json:
        terminal.emit(answer)
        return Exit.OK
    terminal.out(f"job {answer['id']}: {answer['status']}")
    for reason in answer["reasons"]:
        first, *more = reason_lines(reason)
        terminal.out(printable(f"  {first}"))
        for line in more:
            terminal.out(printable(f"    {line}"))
    return Exit.OK
