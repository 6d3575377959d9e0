"""Showing rows of jobs, wherever they were read: sorted, limited, as a table or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from jqueue.cli.columns import column, details_of, fields_of, json_of, text_of
from jqueue.cli.output import chosen_columns, json_lines, show_table, sort_rows
from jqueue.cli.terminal import Terminal


def names_for(args: argparse.Namespace, usual: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Reads `-o` and `--sort`.

    @param usual: the columns to show without `-o`
    @return: the columns to show, the job fields to ask for, and more that are asked for only of unfinished jobs
    """
    names = chosen_columns(args.columns, usual)
    needed = [*names, *([args.sort] if args.sort else [])]
    return names, fields_of(needed), details_of(needed)


def show_jobs(args: argparse.Namespace, terminal: Terminal, rows: list[dict[str, Any]], names: list[str]) -> None:
    """Shows jobs.

    @param args: with `sort`, `reverse`, `limit` and `no_header`
    @param rows: the fields that `names_for` gave; what is only asked for of unfinished jobs may be missing
    """
    now = terminal.clock.time()
    columns = {name: column(name) for name in [*names, *([args.sort] if args.sort else [])]}
    values: list[dict[str, Any]] = [{name: one.value(row, now) for name, one in columns.items()} for row in rows]
    values = sort_rows(values, args.sort, args.reverse)
    if args.limit is not None:
        values = values[: args.limit] if args.reverse else values[-args.limit :]
    if terminal.json:
        json_lines(terminal, ({name: json_of(name, row[name]) for name in names} for row in values))
        return
    cells = [[text_of(name, row[name], now) for name in names] for row in values]
    show_table(terminal, [columns[name].column for name in names], cells, header=not args.no_header)
