"""`jqueue log`: what a job has said, and what it is saying."""

from __future__ import annotations

import argparse
from collections import deque
from typing import TYPE_CHECKING, Any

from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Connection, Terminal

_LAST = 10


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "log",
        run,
        help="Show the log of a job",
        example="jqueue log -f 17",
        json="one line an entry: type (log) id op serial time kind message",
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends, and exit as wait does")
    parser.add_argument(
        "-n", "--lines", type=int, metavar="N", help=f"only the last N lines (with -f: {_LAST}; 0 for none)"
    )
    parser.add_argument("-t", "--times", action="store_true", help="begin each line with its time of day")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the log."""
    from jqueue import errors
    from jqueue.cli.follow import log_pages
    from jqueue.cli.results import lost, query
    from jqueue.cli.selection import one_id
    from jqueue.cli.view import show_line

    job_id = one_id(args.id)
    if args.lines is not None and args.lines < 0:
        raise errors.OpPrereqError(f"-n {args.lines}: a number of lines expected, 0 or more")
    connection = terminal.connection()
    job = query(connection, [job_id], ("id", "status", "log_serial"))[0]
    if job["status"] is None:
        raise lost(job_id)
    lines = _LAST if args.lines is None and args.follow else args.lines
    last = job["log_serial"] or 0
    entries = log_pages(connection, job_id, 0) if lines is None else iter(tail(connection, job_id, last, lines))
    seen = 0 if lines is None else last
    for entry in entries:
        show_line(terminal, job_id, entry, times=args.times)
        seen = max(seen, entry[1])
    return _follow(args, terminal, job_id, seen) if args.follow else Exit.OK


def tail(connection: Connection, job_id: int, last: int, lines: int) -> deque[list[Any]]:
    """Gives the last entries of a log without reading all of it.

    @param last: the last serial; there may be gaps below it, so the way back is lengthened until it is enough
    """
    from jqueue.cli.follow import log_pages

    back = lines
    while True:
        start = max(last - back, 0)
        found = deque(log_pages(connection, job_id, start) if lines else (), maxlen=lines)
        if len(found) >= lines or start == 0:
            return found
        back *= 4


def _follow(args: argparse.Namespace, terminal: Terminal, job_id: int, seen: int) -> int:
    from jqueue.cli.follow import Follower
    from jqueue.cli.view import View

    follower = Follower(terminal, [job_id], logs={job_id: seen}, progress=not terminal.json)
    return View(terminal, several=False, changes="end", times=args.times).follow(follower)
