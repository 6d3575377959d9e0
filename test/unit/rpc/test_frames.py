"""Tests of `jqueue.rpc.frames`."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqueue.errors import OpPrereqError, ProtocolError
from jqueue.rpc.frames import MAX_DEPTH, MAX_MEMBERS, Frames, decode

LIMIT = 4 * 2**20

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def decoded(frame: bytes) -> tuple[object, int]:
    """What a message holds, and in how many steps it was decoded."""
    steps = decode(frame)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def refusal(frame: bytes) -> str:
    with pytest.raises(OpPrereqError) as caught:
        decoded(frame)
    return caught.value.text


def cut(chunks: list[bytes], limit: int = LIMIT) -> list[bytes]:
    frames, found = Frames(limit), []
    for chunk in chunks:
        frames.feed(chunk)
        while (frame := frames.next()) is not None:
            found.append(frame)
    assert len(frames) == 0
    return found


@given(st.lists(plain, max_size=5), st.integers(1, 50))
def test_messages_are_found_however_the_stream_is_cut(messages: list[object], size: int) -> None:
    stream = b"".join(map(msgpack.packb, messages))
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    found = cut(chunks)
    assert found == list(map(msgpack.packb, messages))
    assert [decoded(frame)[0] for frame in found] == messages


def test_half_a_message_is_not_there_yet() -> None:
    frames = Frames(LIMIT)
    frames.feed(msgpack.packb([1, 2, 3])[:-1])
    assert frames.next() is None
    assert len(frames) == 3
    assert frames.head() == b"\x93\x01\x02"


@pytest.mark.parametrize("announced", [b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x91\xc6\xff\xff\xff\xff"])
def test_what_grows_over_the_limit_is_refused(announced: bytes) -> None:
    frames = Frames(1000)
    frames.feed(announced)
    assert frames.next() is None
    frames.feed(b"\x00" * 1000)
    with pytest.raises(ProtocolError, match="larger than 1000 bytes"):
        frames.next()


def test_a_message_over_the_limit_that_comes_at_once_is_refused() -> None:
    frames = Frames(1000)
    frames.feed(msgpack.packb(b"x" * 1000))
    with pytest.raises(ProtocolError, match="larger than 1000 bytes"):
        frames.next()


def test_more_than_can_be_held_is_refused() -> None:
    frames = Frames(1000)
    with pytest.raises(ProtocolError, match="larger than 1000 bytes"):
        frames.feed(b"\xdb\xff\xff\xff\xff" + b"x" * 2**21)


def test_small_messages_together_may_be_larger_than_the_limit() -> None:
    assert len(cut([msgpack.packb("x" * 90) * 100], limit=100)) == 100


def test_garbage_is_refused() -> None:
    frames = Frames(LIMIT)
    frames.feed(b"\xc1")
    with pytest.raises(ProtocolError, match="not MessagePack"):
        frames.next()


def test_bottomless_nesting_is_refused() -> None:
    frames = Frames(LIMIT)
    frames.feed(b"\x91" * 5000)
    with pytest.raises(ProtocolError, match=f"deeper than {MAX_DEPTH} levels"):
        frames.next()


def test_nothing_is_kept_after_clear() -> None:
    frames = Frames(LIMIT)
    frames.feed(b"\x93\x01")
    frames.clear()
    assert len(frames) == 0
    frames.feed(b"\x05")
    assert frames.next() == b"\x05"


def test_depth_up_to_the_limit_is_taken() -> None:
    assert decoded(b"\x91" * (MAX_DEPTH - 1) + b"\x90")[1] == 0
    assert "nested deeper than 64 levels" in refusal(b"\x91" * MAX_DEPTH + b"\x90")
    assert "nested deeper than 64 levels" in refusal(b"\x81\xa1k" * MAX_DEPTH + b"\x90")


def test_depth_is_bounded_in_a_large_message_too() -> None:
    filling = b"\x93" + msgpack.packb("x" * 40_000) + msgpack.packb([[0]] * 5000)
    assert decoded(filling + b"\x91" * (MAX_DEPTH - 2) + b"\x90")[1] > 0
    assert "nested deeper than 64 levels" in refusal(filling + b"\x81\xa1k" * (MAX_DEPTH - 1) + b"\x90")


def test_a_large_message_is_decoded_in_steps() -> None:
    message = [["x" * 100] * 1000 for _ in range(20)]
    value, steps = decoded(msgpack.packb(message))
    assert value == message
    assert steps > 50


def test_too_many_members_are_refused() -> None:
    assert "max_array_len" in refusal(b"\xdd" + (MAX_MEMBERS + 1).to_bytes(4, "big") + b"\xc0" * (MAX_MEMBERS + 1))


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"\x81\x01\x02", "int is not allowed for map key"),
        (b"\x81\x90\x02", "list is not allowed for map key"),
        (b"\xd4\x05\x00", "extension type 5"),
        (b"\xa1\xff", "params is not valid UTF-8"),
        (b"\x94\x00\x01\xa1m\x92\x01\x81\xa1k\xa1\xff", "params[1].k is not valid UTF-8"),
        (b"\x94\x00\x01\xa1m\x91\x81\xa1\xff\x01", "a key of params[0] is not valid UTF-8"),
        (b"\x94\x00\x01\xa1\xff\x90", "a text in the message is not valid UTF-8"),
        (b"\x92\xa1\xff\x81\x01\x02", "a text in the message is not valid UTF-8"),
        (b"\xdd\x00\x00\x80\x00" + b"\xa1\xff" * 32768, "a text in the message is not valid UTF-8"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(frame: bytes, text: str) -> None:
    assert text in refusal(frame)
