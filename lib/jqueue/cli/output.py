"""Tables: aligned, as wide as the terminal, coloured only there; and their rows as JSON.

Which columns a table of jobs has is in `columns`.
"""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jqueue import errors
from jqueue.cli.terminal import Terminal, printable

_COLORS = {
    "success": "32",
    "error": "31",
    "canceled": "35",
    "canceling": "35",
    "running": "36",
    "waiting": "33",
    "paused": "33",
    "ready": "33",
    "standby": "33",
    "pending": "33",
}
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, how it aligns, and whether it gives way on a narrow terminal."""

    title: str
    right: bool = False
    elastic: bool = False


def add_table_options(parser: argparse.ArgumentParser, columns: str) -> None:
    """Declares the options of every verb that shows a table.

    @param columns: the names one can choose from, for the help
    """
    group = parser.add_argument_group("table")
    group.add_argument("-o", "--columns", metavar="FIELD,...", help=f"what to show, +FIELD adds one: {columns}")
    group.add_argument("--sort", metavar="FIELD", help="sort by this field")
    group.add_argument("-r", "--reverse", action="store_true", help="the other way round")
    group.add_argument("--no-header", action="store_true", help="leave out the line of headings")


def positive(text: str) -> int:
    """Reads a number above 0, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return int(text)


def chosen_columns(wanted: str | None, usual: Sequence[str]) -> list[str]:
    """Reads `-o`.

    @param wanted: `a,b` for just these, `+a,b` for these as well, None for the usual ones
    """
    if wanted is None:
        return list(usual)
    names = [name.strip() for name in wanted.removeprefix("+").split(",")]
    if not all(names):
        raise errors.OpPrereqError(f"-o {wanted}: a field name is missing between the commas")
    return [*usual, *names] if wanted.startswith("+") else names


def paint_status(text: str, terminal: Terminal) -> str:
    """Colours a status, which stays spelled out."""
    code = _COLORS.get(text.strip())
    return f"\x1b[{code}m{text}\x1b[0m" if code and terminal.colored else text


def paint_stage(text: str, terminal: Terminal) -> str:
    """Colours the word at the beginning of a stage."""
    word = text[: next((place for place, character in enumerate(text) if not character.isalpha()), len(text))]
    return paint_status(word, terminal) + text[len(word) :]


def show_table(
    terminal: Terminal, columns: Sequence[Column], rows: Sequence[Sequence[str]], header: bool = True
) -> None:
    """Writes a table to stdout.

    @param rows: the cells as text, one for each column
    @param header: whether the headings come first
    """
    cells = [[printable(cell).replace("\t", " ") for cell in row] for row in rows]
    lines = [[column.title for column in columns], *cells] if header else cells
    widths = [max((_width(line[i]) for line in lines), default=0) for i in range(len(columns))]
    _shrink(widths, columns, terminal.width)
    for number, line in enumerate(lines):
        parts = []
        for i, (text, column, width) in enumerate(zip(line, columns, widths, strict=True)):
            shown = _fit(text, width)
            fill = " " * (width - _width(shown))
            if not (header and number == 0):
                shown = paint_status(shown, terminal) if column.title in ("STATUS", "STATE", "LIFECYCLE") else shown
                shown = paint_stage(shown, terminal) if column.title == "STAGE" else shown
            last = i == len(columns) - 1 and not column.right
            parts.append(fill + shown if column.right else shown + ("" if last else fill))
        terminal.out(_GAP.join(parts).rstrip())


def sort_rows(rows: list[dict[str, object]], by: str | None, reverse: bool) -> list[dict[str, object]]:
    """Sorts rows by one field; rows without a value come last.

    @param by: the field; None keeps the order
    @param reverse: the other way round
    """
    if by is None:
        return rows[::-1] if reverse else rows
    if rows and by not in rows[0]:
        raise errors.OpPrereqError(f"--sort {by}: there is no field '{by}' here; choose from {', '.join(rows[0])}")
    there = [row for row in rows if row[by] is not None]
    there.sort(key=lambda row: _sort_key(row[by]), reverse=reverse)
    return there + [row for row in rows if row[by] is None]


def _sort_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, (int, float)) for part in value):
        return 0, float(value[0]) + (float(value[1]) / 1e6 if len(value) > 1 else 0.0), ""
    return 1, 0.0, str(value)


def _shrink(widths: list[int], columns: Sequence[Column], available: int | None) -> None:
    """Takes from the elastic columns what the terminal lacks, but leaves each of them eight places."""
    if available is None:
        return
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - available
    for i in sorted((i for i, column in enumerate(columns) if column.elastic), key=lambda i: -widths[i]):
        taken = min(max(excess, 0), max(widths[i] - 8, 0))
        widths[i] -= taken
        excess -= taken


def _fit(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept = text[:width]
    while kept and _width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "~"


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(_places(character) for character in text)


def _places(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def json_lines(terminal: Terminal, values: Iterable[object]) -> None:
    """Writes a JSON array, one element a line, so that it is readable and can be large."""
    import json

    first = True
    for value in values:
        terminal.out(("[" if first else ",") + json.dumps(value))
        first = False
    terminal.out("[]" if first else "]")


def show_records(
    args: argparse.Namespace,
    terminal: Terminal,
    rows: list[dict[str, Any]],
    usual: Sequence[str],
    text: Callable[[str, Any], str],
    *,
    elastic: Sequence[str] = (),
    right: Sequence[str] = (),
) -> None:
    """Shows plain records as a table or as JSON, as the table options say.

    @param usual: the names of a record's values
    @param text: gives the value of that name as text
    @param elastic: names of the columns that give way on a narrow terminal
    @param right: names of the columns that align right
    """
    names = chosen_columns(args.columns, usual)
    for name in names:
        if name not in usual:
            raise errors.OpPrereqError(f"-o: there is no field '{name}' here; choose from {', '.join(usual)}")
    rows = sort_rows(rows, args.sort, args.reverse)
    if terminal.json:
        json_lines(terminal, ({name: row[name] for name in names} for row in rows))
        return
    columns = [Column(name.upper(), name in right, name in elastic) for name in names]
    show_table(terminal, columns, [[text(name, row[name]) for name in names] for row in rows], not args.no_header)
