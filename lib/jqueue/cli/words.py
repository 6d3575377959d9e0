"""Small phrases that several verbs use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jqueue.cli.times import duration_text


def progress_text(progress: Sequence[Any]) -> str:
    """Gives `[done, total, text]` as `42% copying`; without a total it is just the amount done."""
    done, total, text = (*progress, None, None, "")[:3]
    amount = f"{percent(done, total)}%" if total else f"{done:g}" if isinstance(done, (int, float)) else ""
    return f"{amount} {text or ''}".strip()


def reason_lines(reason: Mapping[str, Any]) -> list[str]:
    """Gives a reason of ExplainJob: its text and since when, then each holder of the lock that is waited for."""
    since = f"; since {duration_text(reason['since'])}" if "since" in reason else ""
    holders = (holder for holder in reason.get("holders", ()) if "op" in holder)
    return [
        f"{reason['text']}{since}",
        *(f"job {one['id']} has it since {duration_text(one['since'])} for {one['op']}" for one in holders),
    ]


def percent(done: float, total: float) -> int:
    """Gives the whole percentage, which is 100 only when all is done."""
    return max(0, min(100, int(100 * done / total)))


def count(number: int, noun: str) -> str:
    """Gives a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
