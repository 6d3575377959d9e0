"""Tests of `jqueue.rpc.output`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from jqueue.rpc.output import Output, OutputLimits
from jqueue.turns import Turns

LIMITS = OutputLimits(notices=3, notice_bytes=100, reply_bytes=200, stalled=60.0)


class Client:
    """The other end of an output."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.idle = 0
        self.dropped: list[str] = []
        self.output = Output(
            self.transport,
            self.clock,
            Turns(self.clock),
            LIMITS,
            idle=self._idle,
            drop=self.dropped.append,
        )

    def _idle(self) -> None:
        self.idle += 1

    @property
    def got(self) -> bytes:
        return bytes(self.transport.value())


@pytest.fixture
def client() -> Client:
    return Client()


def test_what_is_sent_goes_out_in_order(client: Client) -> None:
    client.output.reply(b"a")
    client.output.notify(b"b")
    client.output.reply(iter([b"c", b"d"]))
    client.output.reply(b"e")
    assert client.got == b"abcde"
    assert not client.output.busy


def test_nothing_goes_out_while_the_client_does_not_read(client: Client) -> None:
    client.output.pauseProducing()
    client.output.reply(b"a")
    client.output.reply(iter([b"b"]))
    assert client.got == b""
    assert client.output.busy
    client.output.resumeProducing()
    assert client.got == b"ab"
    assert client.idle == 1


def test_parts_are_made_only_as_fast_as_the_client_reads(client: Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b"a"
        client.output.pauseProducing()
        yield b"b"
        yield b"c"

    client.output.reply(parts())
    assert client.got == b"ab"
    client.output.reply(b"d")
    client.output.resumeProducing()
    assert client.got == b"abcd"


def test_idle_is_told_when_the_client_has_read_everything(client: Client) -> None:
    client.output.pauseProducing()
    assert client.idle == 0
    client.output.resumeProducing()
    assert client.idle == 1


@pytest.mark.parametrize("notices", [[b"x"] * 4, [b"x" * 60, b"x" * 60]])
def test_too_many_notices_for_a_client_that_does_not_read_drop_it(client: Client, notices: list[bytes]) -> None:
    client.output.pauseProducing()
    for notice in notices:
        assert client.dropped == []
        client.output.notify(notice)
    assert client.dropped == ["too much waits for it to read"]
    client.output.resumeProducing()
    assert client.got == b""


def test_notices_are_counted_down_when_they_are_sent(client: Client) -> None:
    for _ in range(5):
        client.output.pauseProducing()
        for _ in range(3):
            client.output.notify(b"x" * 30)
        client.output.resumeProducing()
    assert client.dropped == []
    assert len(client.got) == 450


def test_one_reply_may_be_of_any_size_but_not_many(client: Client) -> None:
    client.output.pauseProducing()
    client.output.reply(b"x" * 1000)
    assert client.dropped == []
    client.output.reply(b"x")
    assert client.dropped == ["too much waits for it to read"]


def test_who_reads_nothing_for_long_is_dropped(client: Client) -> None:
    client.output.pauseProducing()
    client.clock.advance(59)
    assert client.dropped == []
    client.clock.advance(1)
    assert client.dropped == ["it does not read"]


def test_who_reads_a_little_now_and_then_is_kept(client: Client) -> None:
    for _ in range(5):
        client.output.pauseProducing()
        client.clock.advance(59)
        client.output.resumeProducing()
    client.clock.advance(100)
    assert client.dropped == []


def test_a_reply_that_fails_half_way_drops_the_client(client: Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("a bug, for the test")

    client.output.reply(parts())
    assert client.dropped == ["its reply could not be made"]


def test_after_close_nothing_is_sent_or_timed(client: Client) -> None:
    client.output.pauseProducing()
    client.output.reply(b"a")
    client.output.close()
    client.output.reply(b"b")
    client.output.resumeProducing()
    client.clock.advance(1000)
    assert (client.got, client.dropped, client.idle) == (b"", [], 0)
