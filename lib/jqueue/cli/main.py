"""`jqueue`: reads the command line, runs one verb, and turns whatever happens into one line and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, BinaryIO, TextIO

from jqueue import __version__, errors
from jqueue.cli.exit import Exit
from jqueue.cli.terminal import Clock, Connection, SystemClock, Terminal
from jqueue.cli.verb import Parser, add_common_options

VERBS = (
    *("submit", "run"),
    *("list", "info", "log", "watch", "wait", "why"),
    *("cancel", "pause", "resume", "speed", "complete", "finalize", "retry", "priority", "archive", "autoarchive"),
    *("drain", "locks", "workers", "inspect", "fsck", "doctor"),
)

_OPEN_ENDED = ("ids", "reason")
"""Positional arguments that take as many words as there are."""


def build_parser(verbs: Sequence[str] = VERBS) -> Parser:
    """Assembles the parser of `jqueue`.

    @param verbs: the verbs that it understands
    """
    parser = Parser(
        prog="jqueue",
        description="Submit operations to the queue and see what becomes of them.",
        epilog="Without a verb: list. Exit statuses are in jqueue(1).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jqueue {__version__}")
    add_common_options(parser, defaults=True)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for name in verbs:
        import_module(f"jqueue.cli.verbs.{name}").register(subparsers)
    return parser


def main(
    argv: Sequence[str] | None = None,
    *,
    connect: Callable[[str | None], Connection] | None = None,
    stdin: BinaryIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> int:
    """Runs one command line.

    @param argv: the words after `jqueue`
    @param connect: makes the connection to the daemon, given the socket's path or None for the usual one
    @return: the exit status, see `jqueue.cli.exit`
    """
    words = list(sys.argv[1:] if argv is None else argv)
    environ = os.environ if environ is None else environ
    socket: list[str | None] = [environ.get("JQUEUE_SOCKET") or None]
    terminal = Terminal(
        connect=lambda: (connect or _connect)(socket[0]),
        stdin=stdin or sys.stdin.buffer,
        stdout=stdout or _lenient(sys.stdout),
        stderr=stderr or _lenient(sys.stderr),
        environ=environ,
        clock=clock or SystemClock(),
    )

    def run() -> int:
        with contextlib.redirect_stdout(terminal.stdout):
            args = _parse(words)
        terminal.json, terminal.quiet, terminal.color = args.json, args.quiet, args.color
        socket[0] = args.socket or socket[0]
        status = int(args.run(args, terminal))
        terminal.flush()
        return status

    # Known before the words are understood, because an error in them is reported as JSON too.
    terminal.json = "--json" in words[: words.index("--") if "--" in words else None]
    try:
        return _report(terminal, run)
    finally:
        with contextlib.suppress(OSError, errors.GenericError):
            terminal.disconnect()


def _report(terminal: Terminal, run: Callable[[], int]) -> int:
    """Turns whatever ends a run into an exit status, and a line that says what it was."""
    try:
        return run()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else Exit.OK
    except KeyboardInterrupt:
        return _interrupted(terminal)
    except BrokenPipeError:
        return _reader_gone(terminal)
    except errors.GenericError as error:
        return _fail(terminal, error)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(terminal, errors.GenericError(what, errors.ENVIRONMENT_ERROR))
    except Exception as error:
        if terminal.environ.get("JQUEUE_DEBUG"):
            raise
        text = f"a fault in jqueue itself: {type(error).__name__}: {error}; please report it, with JQUEUE_DEBUG=1 set"
        return _fail(terminal, errors.ProgrammerError(text))


def _parse(words: list[str]) -> argparse.Namespace:
    # The other verbs' modules are not loaded: a shell prompt is waiting.
    parser = build_parser([name for name in VERBS if name in words] or VERBS)
    args, unknown = parser.parse_known_args(words)
    if args.verb is None and not unknown:
        return _parse([*words, "list"])
    for name in _OPEN_ENDED:
        # argparse fills such a list before the first option after another positional, and has none left behind it.
        if isinstance(getattr(args, name, None), list) and not any(word.startswith("-") for word in unknown):
            getattr(args, name).extend(unknown)
            unknown = []
    if unknown:
        help = " ".join(["jqueue", *([args.verb] if args.verb else []), "--help"])
        raise errors.OpPrereqError(f"not understood: {' '.join(unknown)}; `{help}` shows what there is")
    return args


def entry() -> int:
    """Runs `jqueue` as a process."""
    return main()


def _connect(path: str | None) -> Connection:
    from jqueue.client import blocking

    return blocking.Connection(path)


def _lenient(stream: TextIO) -> TextIO:
    """Lets a terminal that cannot show a character show its escape instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _fail(terminal: Terminal, error: errors.GenericError) -> int:
    text = " ".join(error.text.split())
    with contextlib.suppress(BrokenPipeError):
        if terminal.json:
            report: dict[str, Any] = {"error": {"class": type(error).__name__, "code": error.code, "message": text}}
            terminal.warn(json.dumps(report))
        else:
            terminal.warn(f"jqueue: {text}")
    return type(error).exit_status


def _interrupted(terminal: Terminal) -> int:
    jobs = terminal.following
    if len(jobs) == 1:
        terminal.warn(f"job {jobs[0]} goes on; `jqueue cancel {jobs[0]}` stops it")
    elif jobs:
        terminal.warn(f"{len(jobs)} jobs go on; `jqueue cancel {','.join(map(str, jobs))}` stops them")
    return Exit.INTERRUPTED


def _reader_gone(terminal: Terminal) -> int:
    # Python flushes stdout once more at exit, and would complain then.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, terminal.stdout.fileno())
        os.close(null)
    return Exit.PIPE
