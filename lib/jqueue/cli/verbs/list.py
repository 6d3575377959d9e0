"""`jqueue list`: a table of jobs; also what `jqueue` alone does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jqueue.cli.exit import Exit
from jqueue.cli.output import add_table_options, positive
from jqueue.cli.selection import add_conditions, conditions, parse_ids
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

_AT_ONCE = 10_000
"""Jobs in one call."""


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "list",
        run,
        help="List jobs",
        example="jqueue list --status running,waiting --sort received_ts",
        json="a list of maps, one a job: id name status lifecycle priority summary owner\n"
        "  received_ts start_ts end_ts progress; with -o, the fields named there",
    )
    parser.add_argument("ids", metavar="ID", nargs="*", help="just these: 3,5-9 12; archived ones are found")
    add_conditions(parser)
    parser.add_argument("-a", "--archived", action="store_true", help="list archived jobs too")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the last N rows, with -r the first")
    parser.add_argument("--offline", action="store_true", help="read the state directory, without the daemon")
    parser.add_argument("--state-dir", metavar="DIR", help="which one, for --offline")
    add_table_options(parser, "id status priority age took stage job, and every field of a job")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the table."""
    from jqueue.cli.columns import USUAL, USUAL_JSON
    from jqueue.cli.jobtable import names_for, show_jobs

    names, fields, details = names_for(args, USUAL_JSON if terminal.json else USUAL)
    ids = parse_ids(args.ids) or None
    asked = list(dict.fromkeys([*fields, "id", "status", *(["archived"] if args.archived else [])]))
    rows = (_read if args.offline else _ask)(args, terminal, ids, asked, details)
    missing = [row["id"] for row in rows if row["status"] is None]
    missing += sorted(set(ids or ()) - {row["id"] for row in rows}) if not (args.status or args.filter) else []
    show_jobs(args, terminal, [row for row in rows if row["status"] is not None], names)
    for job_id in missing:
        terminal.warn(f"jqueue: there is no job {job_id}, neither in the queue nor in the archive")
    return Exit.ERROR if missing else Exit.OK


def _ask(
    args: argparse.Namespace, terminal: Terminal, ids: list[int] | None, fields: list[str], details: list[str]
) -> list[dict[str, Any]]:
    from jqueue.cli.results import is_final, query

    rows = query(terminal.connection(), ids, fields, conditions(args))
    unfinished = [row for row in rows if details and row["status"] is not None and not is_final(row["status"])]
    for start in range(0, len(unfinished), _AT_ONCE):
        part = unfinished[start : start + _AT_ONCE]
        for row, more in zip(part, query(terminal.connection(), [row["id"] for row in part], details), strict=True):
            row.update(more)
    return rows


def _read(
    args: argparse.Namespace, terminal: Terminal, ids: list[int] | None, fields: list[str], details: list[str]
) -> list[dict[str, Any]]:
    from jqueue.cli.offline import read_jobs
    from jqueue.directories import default_state_dir

    directory = Path(args.state_dir) if args.state_dir else default_state_dir()
    last = None if args.sort else args.limit
    asked = [*fields, *(name for name in details if name not in fields)]
    return read_jobs(terminal, directory, asked, ids=ids, qfilter=conditions(args), archived=args.archived, last=last)
