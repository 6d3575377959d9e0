"""Tests of `jqueue.rpc.listen`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from jqueue.errors import ConfigurationError, StateError
from jqueue.rpc.listen import listen_unix


class Reactor:
    """Notes what it is asked to listen on, and the umask at that moment."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def listenUNIX(self, address: str, factory: object, backlog: int, mode: int) -> None:
        umask = os.umask(0)
        os.umask(umask)
        if not Path(address).parent.is_dir():
            raise CannotListenError(None, address, NotADirectoryError("no directory"))
        self.asked.append((address, mode, umask))


@pytest.fixture
def reactor() -> Any:
    return Reactor()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "rpc.sock"))
        yield listener


def test_the_socket_is_made_with_its_permissions(reactor: Any, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        listen_unix(reactor, tmp_path / "rpc.sock", Factory())
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert reactor.asked == [(os.fspath(tmp_path / "rpc.sock"), 0o660, 0o117)]


def test_a_path_that_the_kernel_does_not_take_is_refused(reactor: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="longer than 107 bytes"):
        listen_unix(reactor, tmp_path / ("x" * 107), Factory())


def test_a_stale_socket_is_replaced(reactor: Any, tmp_path: Path, listening: socket.socket) -> None:
    listening.close()
    assert (tmp_path / "rpc.sock").exists()
    listen_unix(reactor, tmp_path / "rpc.sock", Factory())
    assert not (tmp_path / "rpc.sock").exists()


def test_a_socket_in_use_is_left_alone(reactor: Any, tmp_path: Path, listening: socket.socket) -> None:
    listening.listen()
    with pytest.raises(StateError, match="another process listens on"):
        listen_unix(reactor, tmp_path / "rpc.sock", Factory())
    assert (tmp_path / "rpc.sock").exists()


def test_another_file_is_left_alone(reactor: Any, tmp_path: Path) -> None:
    (tmp_path / "rpc.sock").write_text("mine")
    with pytest.raises(StateError, match="is in the way of a socket"):
        listen_unix(reactor, tmp_path / "rpc.sock", Factory())
    assert (tmp_path / "rpc.sock").read_text() == "mine"


def test_a_socket_that_cannot_be_opened_is_told_with_its_reason(reactor: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be opened: Not a directory"):
        listen_unix(reactor, tmp_path / "file" / "rpc.sock", Factory())
    with pytest.raises(StateError, match="cannot be opened: .*no directory"):
        listen_unix(reactor, tmp_path / "missing" / "rpc.sock", Factory())
