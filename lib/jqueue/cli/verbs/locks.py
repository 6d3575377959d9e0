"""`jqueue locks`: who holds what, and who waits for it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jqueue.cli.exit import Exit
from jqueue.cli.output import add_table_options
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

NAMES = ("name", "mode", "owners", "pending")


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "locks",
        run,
        help="List the locks that are held or waited for",
        example="jqueue locks",
        json="a list of maps, one a lock: name mode owners pending (a list of mode and owners)",
    )
    add_table_options(parser, " ".join(NAMES))


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the table."""
    from jqueue.cli.output import show_records

    def text(name: str, value: Any) -> str:
        if name == "owners":
            return ", ".join(map(str, value))
        if name == "pending":
            return "; ".join(f"{mode}: {', '.join(map(str, owners))}" for mode, owners in value)
        return "-" if value is None else str(value)

    rows = [{name: row[name] for name in NAMES} for row in terminal.connection().call("QueryLocks")]
    show_records(args, terminal, rows, NAMES, text, elastic=("name", "owners", "pending"))
    if not rows:
        terminal.say("no lock is held or waited for")
    return Exit.OK
