"""How a verb declares itself to argparse: its help, one example, and the keys of its JSON.

The parsers are the one description of the command line; `--help` and the man page both come from them.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from jqueue import errors

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = "Callable[[argparse.Namespace, Terminal], int]"


class Parser(argparse.ArgumentParser):
    """A parser that reports a bad command line as any other error is reported."""

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        @raise errors.OpPrereqError: always
        """
        unknown = re.match(r"argument VERB: invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if unknown:
            verbs = re.findall(r"[a-z]+", unknown[2])
            close = difflib.get_close_matches(unknown[1], verbs, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(verbs)}"
            message = f"there is no verb '{unknown[1]}'; {hint}"
        raise errors.OpPrereqError(f"{message}; `{self.prog} --help` shows how it is used")


def add_common_options(parser: argparse.ArgumentParser, defaults: bool) -> None:
    """Declares what every verb understands, before or after its name.

    @param defaults: whether the options have defaults here; those of a verb must not undo those given before it
    """
    group = parser.add_argument_group("always")
    given = None if defaults else argparse.SUPPRESS
    off = False if defaults else argparse.SUPPRESS
    group.add_argument("--socket", metavar="PATH", default=given, help="the daemon's socket (also: JQUEUE_SOCKET)")
    group.add_argument("--json", action="store_true", default=off, help="write JSON for programs")
    group.add_argument("-q", "--quiet", action="store_true", default=off, help="no talk on stderr, only errors")
    choices = ("auto", "always", "never")
    color = "auto" if defaults else argparse.SUPPRESS
    group.add_argument("--color", choices=choices, default=color, help="colour the output (auto: on a terminal)")


def add_verb(
    subparsers: Subparsers, name: str, run: Run, help: str, example: str, json: str
) -> argparse.ArgumentParser:
    """Declares a verb.

    @param help: what it does, one sentence without the full stop
    @param example: one command line
    @param json: what `--json` writes, with its keys
    """
    parser = subparsers.add_parser(
        name,
        help=help[0].lower() + help[1:],
        description=f"{help}.",
        epilog=f"example:\n  {example}\n\nwith --json:\n  {json}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_common_options(parser, defaults=False)
    return parser
