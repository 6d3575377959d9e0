"""`jqueue watch`: the changes of jobs as they happen."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jqueue.cli.exit import Exit
from jqueue.cli.selection import add_selection, select
from jqueue.cli.verb import Subparsers, add_verb

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "watch",
        run,
        help="Show the changes of jobs as they happen; of a single job its log too",
        example="jqueue watch 17-20",
        json="one line an event; type is change (id name status lifecycle priority ended error),\n"
        "  log (id op serial time kind message), progress (id done total text speed) or\n"
        "  lifecycle (event id data, see QMP)",
    )
    add_selection(parser)
    parser.add_argument("--lifecycle", action="store_true", help="each step of the lifecycle as well, in QEMU's words")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Watches the jobs named, or all for ever."""
    from jqueue.cli.follow import Follower
    from jqueue.cli.view import View

    ids = select(args, terminal) if args.ids or args.status or args.filter else None
    if ids == []:
        return Exit.OK
    single = ids is not None and len(ids) == 1
    logs = dict.fromkeys(ids, 0) if ids and single else None
    follower = Follower(terminal, ids, logs=logs, progress=bool(ids), steps=args.lifecycle)
    return View(terminal, several=not single, changes="data").follow(follower)
