"""One check of `jqueue doctor`, and the small phrases that checks are written with."""

from __future__ import annotations

from typing import NamedTuple

OK = "ok"
WARN = "warn"
"""It works, but somebody should look."""
FAIL = "fail"
"""Something does not work."""


class Check(NamedTuple):
    """One line of the doctor's report."""

    level: str
    """`ok`, `warn` or `fail`."""
    part: str
    """What was looked at, in one word."""
    text: str
    """What was found."""
    advice: str = ""
    """What to do; empty if all is well."""


def span(seconds: float) -> str:
    """Gives a duration in its largest whole unit: `42 s`, `7 min`, `3 h`, `12 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Gives a number of bytes: `17 MiB`, `2.3 GiB`."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
