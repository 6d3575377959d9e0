"""`jqueue submit`: job descriptions from files or standard input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jqueue import errors
from jqueue.cli.exit import Exit, of_statuses
from jqueue.cli.verb import Subparsers, add_verb
from jqueue.cli.words import count

if TYPE_CHECKING:
    from jqueue.cli.terminal import Terminal
    from jqueue.jobs.description import Submission

PRIORITIES = {"low": 10, "normal": 0, "high": -10}


def register(subparsers: Subparsers) -> None:
    """Declares the verb."""
    parser = add_verb(
        subparsers,
        "submit",
        run,
        help="Submit the jobs described in a YAML or JSON file; their ids go to stdout",
        example="jqueue submit --follow backup.yaml",
        json="a list of maps, one a job: id name error; --follow: see watch; --spool: spooled (the path)",
    )
    parser.add_argument("file", metavar="FILE", help="the description; - for standard input")
    parser.add_argument(
        "--follow", action="store_true", help="show log and progress until the jobs end; exit as wait does"
    )
    parser.add_argument("--dry-run", action="store_true", help="have the daemon check everything, submit nothing")
    parser.add_argument("--print-id", action="store_true", help="write the ids to stdout also when following")
    add_submission_options(parser)
    together = parser.add_mutually_exclusive_group()
    together.add_argument(
        "--group", metavar="NAME", help="make the jobs a group of this name: they succeed or fail together"
    )
    together.add_argument("--grouped", action="store_true", help="likewise, with the name that the file gives, or none")
    parser.add_argument("--request-id", metavar="TEXT", help="the same text again gives the same jobs, not new ones")
    parser.add_argument("--spool", action="store_true", help="drop it into the queue's incoming/, daemon or not")
    parser.add_argument("--state-dir", metavar="DIR", help="the state directory, for --spool")


def add_submission_options(parser: argparse.ArgumentParser) -> None:
    """Declares what can be said of new jobs on the command line."""
    parser.add_argument("--name", metavar="TEXT", help="a name for the job")
    parser.add_argument("--priority", choices=tuple(PRIORITIES), help="for opcodes that state none")
    parser.add_argument(
        "--no-auto-finalize",
        dest="auto_finalize",
        action="store_false",
        help="have jobs wait for `jqueue finalize` when their work is done, where the description does not say",
    )
    parser.add_argument(
        "--auto-dismiss",
        action="store_true",
        help="archive jobs as soon as they have ended, where the description does not say",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Submits, or checks, or drops into incoming/."""
    from jqueue.jobs.description import load

    data = _read(args.file, terminal)
    source = "standard input" if args.file == "-" else args.file
    submission = load(data, source)
    changed = [_group(args, submission), describe(args, submission.jobs)]
    if args.spool:
        return _spool(args, terminal, data, submission if any(changed) else None)
    jobs, options = submission.jobs, submission.options
    if args.request_id:
        options["request_id"] = args.request_id
    if args.dry_run:
        return _check(terminal, jobs, {**options, "dry_run": True})
    ids, refused = send(terminal, jobs, options)
    report(terminal, jobs, ids, refused, follow=args.follow, print_id=args.print_id)
    accepted = [job_id for job_id in ids if job_id is not None]
    ended = follow(terminal, accepted) if args.follow and accepted else {}
    return Exit.USAGE if refused else of_statuses(job["status"] for job in ended.values())


def _group(args: argparse.Namespace, submission: Submission) -> bool:
    """Makes it a group if the command line says so.

    @return: whether that is something new
    """
    from jqueue.jobs.description import check_name

    before = submission.group
    if args.group is not None:
        submission.group = check_name(args.group, "--group")
    elif args.grouped:
        submission.group = before or True
    return submission.group != before


def describe(args: argparse.Namespace, jobs: list[dict[str, Any]]) -> bool:
    """Adds what the command line says to the descriptions.

    @return: whether it says anything
    """
    for job in jobs:
        if not args.auto_finalize:
            job.setdefault("auto_finalize", False)
        if args.auto_dismiss:
            job.setdefault("auto_dismiss", True)
        if args.name is not None:
            job["name"] = args.name
        if args.priority is not None:
            job["ops"] = [
                {"priority": PRIORITIES[args.priority], **op} if isinstance(op, dict) else op for op in job["ops"]
            ]
    return args.name is not None or args.priority is not None or not args.auto_finalize or args.auto_dismiss


def send(terminal: Terminal, jobs: list[dict[str, Any]], options: dict[str, Any]) -> tuple[list[int | None], list[str]]:
    """Submits jobs in one call.

    @return: the ids (None for a job that was refused), and why jobs were refused
    """
    ids: list[int | None] = []
    refused = []
    for number, (accepted, value) in enumerate(terminal.connection().call("SubmitManyJobs", jobs, options)):
        ids.append(value if accepted else None)
        if not accepted:
            refused.append(f"jobs[{number}]: {value}")
    return ids, refused


def report(
    terminal: Terminal,
    jobs: list[dict[str, Any]],
    ids: list[int | None],
    refused: list[str],
    *,
    follow: bool,
    print_id: bool,
) -> None:
    """Tells the ids: on stdout, unless the log goes there."""
    for text in refused:
        terminal.warn(f"jqueue: {text}")
    if terminal.json:
        faults = iter(refused)
        rows = [
            {"id": job_id, "name": job.get("name"), "error": None if job_id is not None else next(faults)}
            for job, job_id in zip(jobs, ids, strict=True)
        ]
        if follow:
            for row in rows:
                terminal.emit({"type": "submitted", **row})
        else:
            terminal.emit(rows)
        return
    for job, job_id in zip(jobs, ids, strict=True):
        if job_id is None:
            continue
        if print_id or not follow:
            terminal.out(str(job_id))
        else:
            terminal.say(f"job {job_id} submitted" + (f": {job['name']}" if job.get("name") else ""))


def follow(terminal: Terminal, ids: list[int]) -> dict[int, dict[str, Any]]:
    """Shows new jobs from their first log line to their end.

    @return: the jobs as they ended, by id
    """
    from jqueue.cli.follow import Follower
    from jqueue.cli.view import View

    view = View(terminal, several=len(ids) > 1)
    view.follow(Follower(terminal, ids, logs=dict.fromkeys(ids, 0), progress=True, explain=not terminal.json))
    return view.ended


def _read(name: str, terminal: Terminal) -> bytes:
    if name == "-":
        return terminal.stdin.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise errors.OpPrereqError(f"{name}: cannot be read: {error.strerror}") from error


def _check(terminal: Terminal, jobs: list[dict[str, Any]], options: dict[str, Any]) -> int:
    answers = terminal.connection().call("SubmitManyJobs", jobs, options)
    refused = [f"jobs[{number}]: {text}" for number, (valid, text) in enumerate(answers) if not valid]
    for text in refused:
        terminal.warn(f"jqueue: {text}")
    if terminal.json:
        texts = [None if valid else text for valid, text in answers]
        terminal.emit(
            [{"id": None, "name": job.get("name"), "error": text} for job, text in zip(jobs, texts, strict=True)]
        )
    if not refused:
        steps = sum(len(job["ops"]) for job in jobs)
        together = " in one group" if options.get("group") else ""
        terminal.say(f"valid: {count(len(jobs), 'job')}{together}, {count(steps, 'opcode')}; nothing was submitted")
    return Exit.USAGE if refused else Exit.OK


def _spool(args: argparse.Namespace, terminal: Terminal, data: bytes, changed: Submission | None) -> int:
    """Drops a description; what the user wrote is kept as it is unless the command line adds to it."""
    from jqueue.cli.spool import drop
    from jqueue.directories import default_state_dir

    for option in ("follow", "dry_run", "request_id", "print_id"):
        if getattr(args, option):
            raise errors.OpPrereqError(f"--{option.replace('_', '-')} needs the daemon and does not go with --spool")
    suffix = Path(args.file).suffix or ".yaml"
    if changed is not None:
        import json

        grouped = {**changed.options, "jobs": changed.jobs}
        data = json.dumps(grouped if changed.group else changed.jobs).encode()
        suffix = ".json"
    path = drop(Path(args.state_dir) if args.state_dir else default_state_dir(), data, suffix)
    if terminal.json:
        terminal.emit({"spooled": str(path)})
    else:
        terminal.out(str(path))
    terminal.say("the daemon submits it when it sees it; if it cannot, rejected/ beside incoming/ says why")
    return Exit.OK
