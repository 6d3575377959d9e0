"""`jqueue run`: one command as a job."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.verb import Subparsers, add_verb
from jqueue.cli.verbs import submit

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "run",
        run,
        help="Run a command as a job, in the current directory",
        example="jqueue run --lock disk1 --follow -- tar -cf /backup/home.tar /home",
        json="as submit",
    )
    parser.add_argument(
        "--lock", action="append", default=[], metavar="NAME[:MODE]", help="hold resource/NAME meanwhile"
    )
    parser.add_argument("--follow", action="store_true", help="show its output and exit with the command's own status")
    submit.add_submission_options(parser)
    parser.add_argument("--timeout", metavar="TIME", help="end it after this long: 90, 1h30m")
    parser.add_argument("--cwd", metavar="DIR", help="run it there instead")
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="set a variable for it")
    parser.add_argument(
        "command", metavar="CMD", nargs=argparse.REMAINDER, help="the command and its arguments, after --"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Submits the command, and follows it if asked to."""
    job: dict[str, Any] = {"ops": [opcode(args)]}
    jobs = [job]
    submit.describe(args, jobs)
    ids, refused = submit.send(terminal, jobs, {})
    submit.report(terminal, jobs, ids, refused, follow=args.follow, print_id=False)
    if refused:
        return Exit.USAGE
    if not args.follow or ids[0] is None:
        return Exit.OK
    from jqueue.cli.results import command_status

    job = submit.follow(terminal, [ids[0]])[ids[0]]
    return command_status(job["opstatus"], job["opresult"])


def opcode(args: argparse.Namespace) -> dict[str, Any]:
    """Gives the OP_RUN_COMMAND that the arguments describe.

    @raise errors.OpPrereqError: if they make no command
    """
    argv = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not argv:
        raise errors.OpPrereqError("run which command? write it after --: `jqueue run -- CMD ARG...`")
    op: dict[str, Any] = {"OP_ID": "OP_RUN_COMMAND", "argv": argv, "cwd": os.path.abspath(args.cwd or os.getcwd())}
    if args.env:
        op["env"] = dict(_variable(text) for text in args.env)
    if args.lock:
        op["locks"] = {"resource": dict(_lock(text) for text in args.lock)}
    if args.timeout:
        from jqueue.cli.times import parse_duration

        op["timeout"] = parse_duration(args.timeout)
    return op


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise errors.OpPrereqError(f"--env {text}: KEY=VALUE expected")
    return key, value


def _lock(text: str) -> tuple[str, str | int]:
    name, _, mode = text.rpartition(":") if ":" in text else (text, "", "exclusive")
    if not name or not (mode in ("shared", "exclusive") or (mode.isdecimal() and int(mode) > 0)):
        raise errors.OpPrereqError(
            f"--lock {text}: NAME expected, or NAME:shared, NAME:exclusive, NAME:N for N of a counted one"
        )
    return name, int(mode) if mode.isdecimal() else mode
