"""Speeds as they are written and shown, case by case."""

from __future__ import annotations

import pytest

from jqueue import errors
from jqueue.cli.rates import parse_rate, rate_text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0", 0),
        ("0M", 0),
        ("unlimited", 0),
        ("Unlimited", 0),
        ("1", 1),
        ("65536", 65536),
        ("65536B", 65536),
        ("512K", 512 * 1024),
        ("512k", 512 * 1024),
        ("512KiB", 512 * 1024),
        ("10M", 10 * 2**20),
        ("10MiB/s", 10 * 2**20),
        ("10m/s", 10 * 2**20),
        ("1.5G", 3 * 2**29),
        ("0.1K", 102),
        ("2T", 2**41),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_speed_is_bytes_a_second_or_a_number_with_a_unit(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "1e6", "10MB", "10 M", "M", "1.5.5", ".5M", "nan", "0x10", "10P", "/s", "\u0661"]
)
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(errors.OpPrereqError, match=r"is no speed; write bytes a second, as in 65536, 512K"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0.2", "0.0001K", "9223372036854775808", "99999999T"])
def test_a_speed_that_cannot_be_kept_is_refused_instead_of_becoming_no_limit(text: str) -> None:
    with pytest.raises(errors.OpPrereqError, match="1 to 9223372036854775807 bytes a second expected"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1, "1 B/s"),
        (1000, "1000 B/s"),
        (1023, "1023 B/s"),
        (1024, "1 KiB/s"),
        (65536, "64 KiB/s"),
        (1_000_000, "977 KiB/s"),
        (1023 * 1024, "1023 KiB/s"),
        (10 * 2**20, "10 MiB/s"),
        (3 * 2**29, "1.5 GiB/s"),
        (2**41, "2 TiB/s"),
        (2**63 - 1, "8388608 TiB/s"),
    ],
)
def test_a_speed_is_shown_in_the_largest_unit_that_fits(rate: int, text: str) -> None:
    assert rate_text(rate) == text
