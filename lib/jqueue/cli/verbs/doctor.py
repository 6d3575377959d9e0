"""`jqueue doctor`: whether the daemon is well, and what to do if it is not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal
    from jqueue.client.checks import Check

_COLORS = {"ok": "32", "warn": "33", "fail": "31"}


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "doctor",
        run,
        help="Check the daemon and its surroundings: socket, role, version, disk space, limits, clock,"
        " jobs that do not get on; exit 1 if something fails",
        example="jqueue doctor",
        json="a map: failed warned (numbers) checks (each: level part text advice;\n  level is ok, warn or fail)",
    )
    parser.add_argument("--state-dir", metavar="DIR", help="the daemon's directory, if it cannot be seen which it uses")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Examines, and shows each check as it is done."""
    from jqueue.cli.words import count
    from jqueue.client.doctor import examine
    from jqueue.client.machine import Machine
    from jqueue.directories import default_state_dir

    candidates = [Path(args.state_dir)] if args.state_dir else [default_state_dir(), Path("/var/lib/jqueue")]
    checks = []
    for check in examine(terminal.connection, Machine(), candidates, terminal.clock.time):
        checks.append(check)
        if not terminal.json:
            terminal.out(_line(check, terminal))
    failed, warned = (sum(check.level == level for check in checks) for level in ("fail", "warn"))
    if terminal.json:
        terminal.emit({"failed": failed, "warned": warned, "checks": [check._asdict() for check in checks]})
    elif failed or warned:
        terminal.say(f"{count(failed, 'failure')}, {count(warned, 'warning')}")
    else:
        terminal.say("all is well")
    return Exit.ERROR if failed else Exit.OK


def _line(check: Check, terminal: Terminal) -> str:
    from jqueue.cli.terminal import printable

    level = f"{check.level:<4}"
    if terminal.colored:
        level = f"\x1b[{_COLORS[check.level]}m{level}\x1b[0m"
    return f"{level}  {check.part:<9}  " + printable(check.text + (f"; {check.advice}" if check.advice else ""))
