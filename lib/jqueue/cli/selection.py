"""Which jobs a verb acts on: ids, ranges, `--status`, `--filter`; and asking before much is destroyed.

The filter language itself lives in `jqueue.jobs.filters`.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Collection
from typing import Any

from jqueue import errors
from jqueue.cli.terminal import Terminal
from jqueue.jobs import status

Qfilter = list[Any]
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1_000_000


def add_selection(parser: argparse.ArgumentParser, destructive: bool = False) -> None:
    """Declares the arguments that name jobs.

    @param destructive: whether the verb asks for `--yes` before it acts on several jobs that a filter found
    """
    parser.add_argument("ids", metavar="ID", nargs="*", help="job ids, lists and ranges of them: 3,5-9 12")
    add_conditions(parser)
    if destructive:
        parser.add_argument("-y", "--yes", action="store_true", help="act on all jobs that the filter finds")


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Declares `--status` and `--filter`."""
    parser.add_argument("--status", metavar="STATUS,...", help=f"jobs with this status: {', '.join(status.ALL)}")
    parser.add_argument("--filter", metavar="EXPR", help="jobs for which this holds, as in 'name == \"backup\"'")


def parse_ids(words: Collection[str]) -> list[int]:
    """Reads ids, lists and ranges.

    @param words: such as `3,5-9` and `12`
    @return: each id once, in the order given
    @raise errors.OpPrereqError: if a word is none of these
    """
    found: dict[int, None] = {}
    for word in words:
        for part in word.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                raise errors.OpPrereqError(f"'{part}' is not a job id; write ids and ranges like 3,5-9 12")
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first or last - first + len(found) >= _MOST:
                raise errors.OpPrereqError(
                    f"'{part}' is not a range of at most {_MOST} ids, from the lower to the higher"
                )
            found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)


def one_id(word: str) -> int:
    """Reads the id of exactly one job."""
    ids = parse_ids([word])
    if len(ids) != 1:
        raise errors.OpPrereqError(f"'{word}' names {len(ids)} jobs, but this verb takes one")
    return ids[0]


def conditions(
    args: argparse.Namespace, domain: Collection[str] | None = None, lifecycles: Collection[str] | None = None
) -> Qfilter | None:
    """Gives what `--status` and `--filter` ask for as a filter of the query language.

    @param domain: the only statuses that make sense for the verb, when no status is asked for
    @param lifecycles: the only lifecycle states that make sense for it
    @return: None if all jobs are meant
    """
    parts: list[Qfilter] = []
    wanted = parse_statuses(args.status) if args.status else domain
    if wanted:
        parts.append(["|", *(["==", "status", name] for name in status.ALL if name in wanted)])
    if lifecycles:
        parts.append(["|", *(["==", "lifecycle", name] for name in sorted(lifecycles))])
    if args.filter:
        from jqueue.jobs.filters import parse_filter

        parts.append(parse_filter(args.filter))
    return ["&", *parts] if len(parts) > 1 else parts[0] if parts else None


def select(
    args: argparse.Namespace,
    terminal: Terminal,
    domain: Collection[str] | None = None,
    lifecycles: Collection[str] | None = None,
) -> list[int]:
    """Gives the jobs that the arguments name.

    @param domain: statuses of the jobs that the verb can act on; limits what a filter finds, not the ids given
    @param lifecycles: lifecycle states of these jobs, likewise
    @raise errors.OpPrereqError: if no job is named, or `--yes` is missing
    """
    ids = parse_ids(args.ids)
    if not args.status and not args.filter:
        if not ids:
            raise errors.OpPrereqError(
                f"which jobs? give ids, --status or --filter; `jqueue {args.verb} --help` shows how"
            )
        return ids
    qfilter = conditions(args, domain, lifecycles)
    rows = terminal.connection().call("QueryJobs", ids or None, ["id", "status"], qfilter)
    found = [row[0] for row in rows if row[1] is not None]
    if len(found) > 1 and getattr(args, "yes", True) is False:
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise errors.OpPrereqError(f"{args.verb} would act on {len(found)} jobs ({shown}); add --yes if that is meant")
    if not found:
        terminal.say("no job matches")
    return found


def parse_statuses(text: str) -> list[str]:
    """Reads what `--status` was given.

    @raise errors.OpPrereqError: if one of them is no status
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in status.ALL:
            close = difflib.get_close_matches(name, status.ALL, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(status.ALL)}"
            raise errors.OpPrereqError(f"--status: there is no status '{name}'; {hint}")
    return names
