"""Times and durations as people and programs read and write them: `3m`, `1d12h`, ISO 8601 with zone."""

from __future__ import annotations

import re
import time

from jqueue import errors

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")


def seconds_of(timestamp: object) -> float | None:
    """Gives a timestamp as the queue stores it in seconds.

    @param timestamp: `[seconds, microseconds]` since the epoch, or None
    @return: seconds since the epoch; None if it is not a timestamp
    """
    match timestamp:
        case [int(seconds), int(micros)]:
            return seconds + micros / 1e6
        case _:
            return None


def iso(timestamp: object) -> str | None:
    """Gives a timestamp in ISO 8601 with the local zone, to the microsecond; None stays None."""
    match timestamp:
        case [int(seconds), int(micros)]:
            local = time.localtime(seconds)
            sign, offset = ("-", -local.tm_gmtoff) if local.tm_gmtoff < 0 else ("+", local.tm_gmtoff)
            zone = f"{sign}{offset // 3600:02d}:{offset // 60 % 60:02d}"
            return time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{micros:06d}{zone}"
        case _:
            return None


def clock_text(timestamp: object) -> str:
    """Gives a timestamp as a time of day in the local zone, "-" without one."""
    seconds = seconds_of(timestamp)
    return "-" if seconds is None else time.strftime("%H:%M:%S", time.localtime(seconds))


def date_text(timestamp: object) -> str:
    """Gives a timestamp as date and time of day in the local zone, "-" without one."""
    seconds = seconds_of(timestamp)
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration_text(seconds: float | None) -> str:
    """Gives a duration in at most two units: `0.3s`, `42s`, `3m07s`, `2h05m`, `4d03h`; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02d}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02d}h"


def parse_duration(text: str) -> float:
    """Reads a duration.

    @param text: seconds, or numbers with units: `90`, `1.5h`, `1d12h`
    @return: seconds
    @raise errors.OpPrereqError: if it is none
    """
    parts = _PART.findall(text)
    whole = "".join(number + unit for number, unit in parts)
    if not parts or whole != text or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise errors.OpPrereqError(
            f"'{text}' is not a duration; write seconds, or numbers with s, m, h, d or w: 90, 1d12h"
        )
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
