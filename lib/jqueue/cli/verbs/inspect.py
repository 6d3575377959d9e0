"""`jqueue inspect`: what is in a state directory, or in a Ganeti queue, without its daemon."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.output import add_table_options, positive
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

USUAL = ("id", "status", "archived", "age", "took", "job")
USUAL_JSON = ("id", "name", "status", "archived", "priority", "summary", "received_ts", "start_ts", "end_ts")


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "inspect",
        run,
        help="List the jobs in a state directory or a Ganeti queue directory, archive included, without a daemon",
        example="jqueue inspect /var/lib/jqueue --status error --newer 7d --text disk1",
        json="a list of maps, one a job: id name status archived priority summary\n"
        "  received_ts start_ts end_ts; with -o, the fields named there",
    )
    parser.add_argument("directory", metavar="DIR", help="the directory")
    parser.add_argument("ids", metavar="ID", nargs="*", help="just these: 3,5-9 12")
    parser.add_argument("--status", metavar="STATUS,...", help="jobs with this status")
    parser.add_argument("--filter", metavar="EXPR", help="jobs for which this holds, as in 'name == \"backup\"'")
    parser.add_argument("--opcode", metavar="TEXT", default="", help="jobs with an opcode whose OP_ID contains this")
    parser.add_argument(
        "--text", metavar="TEXT", default="", help="jobs with this in their name, parameters or results"
    )
    parser.add_argument("--older", metavar="AGE", help="jobs that ended (else started, else came) longer ago: 6h, 30d")
    parser.add_argument("--newer", metavar="AGE", help="and those not so long ago")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the last N rows, with -r the first")
    add_table_options(parser, "id status archived age took job, and every field of a job")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the jobs found."""
    from jqueue.cli.jobtable import names_for, show_jobs
    from jqueue.cli.offline import read_jobs
    from jqueue.cli.selection import conditions, parse_ids, parse_statuses
    from jqueue.cli.times import parse_duration
    from jqueue.client.offline import Criteria

    names, fields, details = names_for(args, USUAL_JSON if terminal.json else USUAL)
    criteria = Criteria(
        statuses=parse_statuses(args.status) if args.status else (),
        opcode=args.opcode,
        text=args.text,
        min_age=parse_duration(args.older) if args.older else 0.0,
        max_age=parse_duration(args.newer) if args.newer else None,
    )
    rows = read_jobs(
        terminal,
        Path(args.directory),
        list(dict.fromkeys([*fields, *details])),
        ids=parse_ids(args.ids) or None,
        qfilter=conditions(argparse.Namespace(status=None, filter=args.filter)),
        criteria=criteria,
        last=None if args.sort else args.limit,
    )
    show_jobs(args, terminal, rows, names)
    return Exit.OK
