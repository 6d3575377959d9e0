from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue.workers.output import MAX_LINE, READ_AT_ONCE, Lines, Output


def split(*chunks: bytes) -> list[str]:
    lines = Lines()
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    return found + list(lines.finish())


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a\n\nb"], ["a", "", "b"]),
        ([b"10%\r20%\rdone\n"], ["10%", "20%", "done"]),
        ([b"a\r\nb\r\n"], ["a", "b"]),
        ([b"a\r", b"\nb"], ["a", "b"]),
        ([b"a\r", b"", b"\nb"], ["a", "b"]),
        ([b"a\r", b"\n", b"\nb"], ["a", "", "b"]),
        ([b"a", b"b", b"c\n"], ["abc"]),
        ([b"\xff\xfe ok\n"], ["\\xff\\xfe ok"]),
        ([b"\xc3", b"\xbc\n"], ["ü"]),
        ([b"\xc3"], ["\\xc3"]),
    ],
)
def test_lines_of_a_stream(chunks: list[bytes], expected: list[str]) -> None:
    assert split(*chunks) == expected


@given(text=st.lists(st.sampled_from([b"\xff", b"\x80", b"\xed\xa0\x80", b"\\udcff", b"\\xff", "ü€".encode(), b"a"])))
def test_each_byte_that_is_no_text_is_escaped_and_text_that_looks_like_it_stays(text: list[bytes]) -> None:
    line = b"".join([b".", *text])
    assert split(line) == [line.decode("utf-8", "backslashreplace")]


def test_a_carriage_return_shows_its_line_at_once() -> None:
    assert list(Lines().feed(b"50%\r")) == ["50%"]


def test_a_line_without_end_is_cut_and_never_held_longer() -> None:
    lines = Lines()
    assert [len(line) for line in lines.feed(b"x" * (3 * MAX_LINE + 1))] == [MAX_LINE] * 3
    assert list(lines.finish()) == ["x"]


def test_a_line_of_the_greatest_length_stays_one() -> None:
    assert [len(line) for line in split(b"x" * MAX_LINE, b"\n")] == [MAX_LINE]


@pytest.mark.parametrize("character", ["ü", "€", "\U0001f600"])
@pytest.mark.parametrize("ended", [b"", b"\n"])
def test_no_character_is_cut(character: str, ended: bytes) -> None:
    text = "x" + character * MAX_LINE
    lines = split(text.encode() + ended)
    assert "".join(lines) == text
    assert all(len(line.encode()) <= MAX_LINE for line in lines)


def test_escaped_bytes_count_as_what_is_shown() -> None:
    lines = split(b"\xff" * MAX_LINE + b"\n")
    assert "".join(lines) == "\\xff" * MAX_LINE
    assert {len(line) for line in lines} == {MAX_LINE}


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def output(tmp_path: Path, logged: list[str]) -> Iterator[Output]:
    made = Output(tmp_path / "output", logged.append)
    yield made
    made.close()


def append(output: Output, data: bytes) -> None:
    with output.path.open("ab") as file:
        file.write(data)


def test_what_is_new_is_logged_once(output: Output, logged: list[str]) -> None:
    append(output, b"one\ntw")
    assert output.read() == 6
    append(output, b"o\n")
    assert output.read() == 2
    assert output.read() == 0
    assert logged == ["one", "two"]


def test_one_read_takes_a_bounded_part(output: Output, logged: list[str]) -> None:
    append(output, b"x\n" * READ_AT_ONCE)
    assert output.read() == READ_AT_ONCE
    output.finish(everything=True)
    assert len(logged) == READ_AT_ONCE


def on_disk(output: Output) -> int:
    return output.path.stat().st_blocks * 512


def test_what_has_been_read_needs_no_disk(output: Output, logged: list[str]) -> None:
    part = (b"x" * 63 + b"\n") * (READ_AT_ONCE // 64)
    for _ in range(8):
        append(output, part)
        while output.read():
            continue
        os.fsync(output.descriptor)
        assert on_disk(output) <= 2 * READ_AT_ONCE
    append(output, b"the end\n")
    assert output.unread == 8
    output.finish(everything=True)
    assert output.path.stat().st_size == 8 * READ_AT_ONCE + 8
    assert (len(logged), set(logged)) == (8 * READ_AT_ONCE // 64 + 1, {"x" * 63, "the end"})


def test_what_an_earlier_command_wrote_is_left_alone(tmp_path: Path, output: Output) -> None:
    append(output, b"first\n")
    second = Output(tmp_path / "output", lambda line: None)
    append(output, b"y" * READ_AT_ONCE)
    second.finish(everything=True)
    second.close()
    assert output.path.read_bytes()[:6] == b"first\n"


def test_a_file_system_that_knows_no_holes_is_asked_once(
    output: Output, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def refuse(descriptor: int, start: int, length: int) -> bool:
        asked.append((start, length))
        return False

    monkeypatch.setattr("jqueue.workers.output._punch_hole", refuse)
    append(output, b"x\n" * READ_AT_ONCE)
    output.finish(everything=True)
    assert (asked, len(logged)) == ([(0, READ_AT_ONCE)], READ_AT_ONCE)


def test_after_a_stop_the_rest_is_named_and_not_read(output: Output, logged: list[str]) -> None:
    append(output, b"x" * (READ_AT_ONCE + 10))
    output.finish(everything=False)
    assert logged[-1] == f"10 bytes of output are not shown; they are at the end of {output.path}"
    assert len("".join(logged[:-1])) == READ_AT_ONCE


def test_a_second_command_goes_on_behind_the_first(tmp_path: Path, output: Output, logged: list[str]) -> None:
    append(output, b"first\n")
    second = Output(tmp_path / "output", logged.append)
    append(output, b"second\n")
    second.finish(everything=True)
    second.close()
    assert logged == ["second"]
