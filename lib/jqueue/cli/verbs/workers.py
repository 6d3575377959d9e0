"""`jqueue workers`: what the worker threads do, and what waits for them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jqueue.cli.exit import Exit
from jqueue.cli.output import add_table_options
from jqueue.cli.verb import Subparsers, add_verb
from jqueue.cli.words import count, progress_text

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

NAMES = ("id", "state", "since", "what")


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "workers",
        run,
        help="List the jobs that the workers have or will get next",
        example="jqueue workers",
        json="a map: size running waiting queued (numbers) jobs (each: id state since, and op summary progress\n"
        "  if it has a worker, kind text if it waits, place if it is next); since is in seconds",
    )
    add_table_options(parser, " ".join(NAMES))


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the pool and its jobs."""
    from jqueue.cli.output import show_records
    from jqueue.cli.times import duration_text

    pool = terminal.connection().call("QueryWorkers")
    if terminal.json:
        terminal.emit(pool)
        return Exit.OK

    def text(name: str, value: Any) -> str:
        return duration_text(value) if name == "since" else str(value)

    rows = [{**{name: job.get(name) for name in NAMES}, "what": _what(job)} for job in pool["jobs"]]
    show_records(args, terminal, rows, NAMES, text, elastic=("what",), right=("id", "since"))
    queued = f"{count(pool['waiting'], 'job')} waiting, {pool['queued']} queued"
    terminal.say(f"{pool['running']} of {pool['size']} workers busy, {queued}")
    return Exit.OK


def _what(job: dict[str, Any]) -> str:
    """Says what a job does on its worker, or why it has none."""
    if "summary" in job:
        progress = f" {progress_text(job['progress'])}" if job.get("progress") else ""
        return f"opcode {job['op'] + 1}: {job['summary']}{progress}"
    return str(job["text"]) if "text" in job else f"number {job['place']} in line"
