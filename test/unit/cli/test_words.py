"""Times, durations, ranges, exit statuses: the small functions, case by case."""

from __future__ import annotations

import time

import pytest

from jqueue import errors
from jqueue.cli.exit import Exit, of_statuses
from jqueue.cli.results import command_status, failure_text
from jqueue.cli.selection import parse_ids
from jqueue.cli.times import duration_text, iso, parse_duration
from jqueue.cli.words import percent, progress_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.6, "1h00m"),
        (86399.9, "1d00h"),
        (100 * 86400, "100d00h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5", 0.5), ("1.5h", 5400), ("1d12h", 129600), ("1w", 604800), ("1m30s", 90)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1y", "-1", "1h30", "1 h", "1e3", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(errors.OpPrereqError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("zone", "text"), [("UTC", "+00:00"), ("IST-5:30", "+05:30"), ("NST3:30", "-03:30")])
def test_iso_has_the_local_zone(monkeypatch: pytest.MonkeyPatch, zone: str, text: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    shown = iso([1_700_000_000, 5])
    monkeypatch.undo()
    time.tzset()
    assert shown is not None
    assert shown.endswith(f".000005{text}")


@pytest.mark.parametrize(
    ("words", "ids"), [(["3,5-7", "12"], [3, 5, 6, 7, 12]), (["7", "5-8"], [7, 5, 6, 8]), (["4-4"], [4])]
)
def test_ids_are_lists_and_ranges_in_the_order_given(words: list[str], ids: list[int]) -> None:
    assert parse_ids(words) == ids


@pytest.mark.parametrize(
    ("statuses", "status"),
    [([], 0), (["success"], 0), (["running"], 0), (["canceled", "success"], 3), (["canceled", "error"], 1)],
)
def test_an_error_beats_a_cancellation(statuses: list[str], status: int) -> None:
    assert of_statuses(statuses) == status


def test_each_exit_status_is_documented() -> None:
    assert {status.value for status in Exit} == {0, 1, 2, 3, 69, 75, 77, 78, 124, 130, 141}


def test_percent_is_100_only_at_the_end() -> None:
    assert [percent(done, 1000) for done in (0, 9, 10, 999, 1000, 2000)] == [0, 0, 1, 99, 100, 100]


@pytest.mark.parametrize(
    ("progress", "text"),
    [([1, 4, "x"], "25% x"), ([7, 0, "files"], "7 files"), ([7, None, ""], "7"), ([1, 2, None], "50%")],
)
def test_progress_in_words(progress: list[object], text: str) -> None:
    assert progress_text(progress) == text


def test_the_failure_is_that_of_the_opcode_that_failed() -> None:
    results = [
        ["not", "an error"],
        ["OpExecError", ["first\nline", "x"]],
        ["OpExecError", ["preceding opcode failed", "x"]],
    ]
    assert failure_text(results, ["success", "error", "error"]) == "first line"
    assert failure_text([0], ["success"]) is None


def test_a_result_that_is_no_exit_status_counts_as_success() -> None:
    assert [command_status(["success"], [result]) for result in (True, None, "x", 256, -1, 255)] == [0, 0, 0, 0, 0, 255]
