"""`jqueue fsck`: what is whole and what is damaged in a state directory, and going on after damage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jqueue.cli.terminal import Terminal
    from jqueue.client.fsck import Report
    from jqueue.client.repair import Plan


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "fsck",
        run,
        help="Check a state directory without its daemon: journal, checkpoints, files of jobs, logs, archive;"
        " exit 1 if something is damaged",
        example="jqueue fsck /var/lib/jqueue",
        json="a map: directory daemon (null, or pid since) damaged (a number)\n"
        "  findings (each: level part text path offset; level is ok, next start or damaged)\n"
        "  repair (null, or kept readable unreadable vanished older held last_id) aside (null, or a path)",
    )
    parser.add_argument("directory", metavar="DIR", nargs="?", help="the directory; the usual one without it")
    parser.add_argument("--state-dir", metavar="DIR", help="the same as an option")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="have a damaged journal end before the damage; what comes behind is moved to journal/damaged-TIME",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do it, instead of only saying what would be lost")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Checks, and repairs if that is asked for."""
    from jqueue.client import fsck
    from jqueue.directories import default_state_dir

    if args.directory and args.state_dir:
        raise errors.OpPrereqError(f"two directories, {args.directory} and --state-dir {args.state_dir}; give one")
    if args.yes and not args.repair:
        raise errors.OpPrereqError("--yes is for --repair; without that nothing is changed")
    directory = Path(args.directory or args.state_dir or default_state_dir()).absolute()
    report, aside = (fsck.check(directory), None)
    if args.repair and report.holder is not None:
        raise errors.StateDirLocked(f"a daemon uses {directory}, {report.holder}: stop it first; nothing was changed")
    if args.repair and args.yes and report.plan is not None:
        report, aside = fsck.repair(directory, terminal.clock.time())
    if terminal.json:
        terminal.emit(_as_json(report, aside))
    else:
        from jqueue.cli.terminal import printable

        for finding in report.findings:
            terminal.out(printable(f"{finding.level:<10}  {finding.part:<10}  {finding.text}"))
        for line in _cost(report.plan) if report.plan else ():
            terminal.out(line)
    return _conclude(terminal, report, aside, repair=args.repair)


def _conclude(terminal: Terminal, report: Report, aside: Path | None, repair: bool) -> int:
    """Says what comes of it, and what to do next."""
    damaged = len(report.damaged)
    if aside is not None:
        terminal.say(f"repaired: the rest of the journal is in {aside}; `jqueue fsck {report.directory}` checks again")
        return Exit.OK
    if not damaged:
        terminal.say("nothing is damaged" + ("; there is nothing to repair" if repair else ""))
        return Exit.OK
    terminal.say(f"{damaged} finding{'' if damaged == 1 else 's'} of damage")
    if report.plan is None:
        if repair:
            terminal.warn("jqueue: --repair goes on after damage inside the journal; there is none that it can mend")
    elif repair:
        terminal.warn("jqueue: nothing was changed; copy the directory first, then add --yes")
    else:
        terminal.say(f"`jqueue fsck {report.directory} --repair --yes` does this; copy the directory first")
    return Exit.ERROR


def _cost(plan: Plan) -> Iterator[str]:
    """Says what a repair loses."""
    from jqueue.client.findings import jobs_text

    lost = f"{plan.readable + plan.unreadable} records behind record {plan.kept} ({plan.unreadable} of them unreadable)"
    lines = [f"keeps everything before the damage, and sets aside {lost}"]
    if plan.vanished:
        lines.append(f"{jobs_text(plan.vanished)}: forgotten; the files are set aside, the ids not used again")
    if plan.older:
        lines.append(f"{jobs_text(plan.older)}: again as before the damage")
    if plan.held:
        lines.append(
            f"{jobs_text(plan.held)}: may have run, and paused for that reason;"
            " look, then `jqueue resume` or `jqueue cancel` each"
        )
    for line in lines:
        yield f"{'repair':<10}  {'journal':<10}  {line}"


def _as_json(report: Report, aside: Path | None) -> dict[str, object]:
    plan, holder = report.plan, report.holder
    return {
        "directory": str(report.directory),
        "daemon": None if holder is None else holder._asdict(),
        "damaged": len(report.damaged),
        "findings": [finding._asdict() for finding in report.findings],
        "repair": None
        if plan is None
        else {name: sorted(value) if isinstance(value, set) else value for name, value in vars(plan).items()},
        "aside": None if aside is None else str(aside),
    }
