"""`jqueue drain`: whether the queue takes new jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "drain",
        run,
        help="Refuse new jobs, take them again, or tell which of the two; queued and running jobs go on",
        example="jqueue drain on 'disk swap until noon'",
        json="a map: drained (true or false) reason",
    )
    parser.add_argument(
        "action", choices=("on", "off", "status"), nargs="?", default="status", help="status without one"
    )
    parser.add_argument("reason", metavar="REASON", nargs="*", help="what those who are refused are told")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Sets the flag, and shows how it is."""
    reason = " ".join(args.reason)
    if reason and args.action != "on":
        raise errors.OpPrereqError(f"drain {args.action} takes no reason, but got '{reason}'")
    connection = terminal.connection()
    if args.action != "status":
        connection.call("SetDrainFlag", args.action == "on", reason)
    drained = connection.call("QueryStatus")["drained"]
    if terminal.json:
        terminal.emit({"drained": drained is not None, "reason": drained})
        return Exit.OK
    from jqueue.cli.terminal import printable

    words = "not drained: new jobs are taken" if drained is None else "drained: new jobs are refused"
    terminal.out(printable(f"{words} ({drained})" if drained else words))
    return Exit.OK
