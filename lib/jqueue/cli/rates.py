"""Speeds as people read and write them: `512K`, `1.5G`, `10 MiB/s`; the powers are those of 1024."""

from __future__ import annotations

import re
from fractions import Fraction

from jqueue import errors

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGT])(?:iB)?|B)?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MOST = 2**63 - 1


def parse_rate(text: str) -> int:
    """Reads a speed limit.

    @param text: bytes a second, or a number with K, M, G or T; 0 or `unlimited` for none
    @return: bytes a second, 0 for no limit
    @raise errors.OpPrereqError: if it is none
    """
    if text.lower() == "unlimited":
        return 0
    match = _RATE.fullmatch(text)
    if match is None:
        raise errors.OpPrereqError(
            f"'{text}' is no speed; write bytes a second, as in 65536, 512K, 10M or 1.5G (powers of 1024), or unlimited"
        )
    exact = Fraction(match[1]) * _UNITS[(match[2] or "").upper()]
    rate = round(exact)
    if exact and not 1 <= rate <= _MOST:
        raise errors.OpPrereqError(f"'{text}': 1 to {_MOST} bytes a second expected; 0 or unlimited is no limit")
    return rate


def rate_text(rate: float) -> str:
    """Gives a speed in the largest unit in which it is 1 or more: `65536` as `64 KiB/s`."""
    unit = next((unit for unit in "TGMK" if rate >= _UNITS[unit]), "")
    amount = f"{rate / _UNITS[unit]:.3g}" if rate / _UNITS[unit] < 999.5 else f"{rate / _UNITS[unit]:.0f}"
    return f"{amount} {unit}{'i' if unit else ''}B/s"
