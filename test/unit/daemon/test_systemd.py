"""The notify protocol, against a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jqueue.daemon.systemd import Notifier, Watchdog


class Systemd:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    end = Systemd(address)
    yield end
    end.socket.close()


@pytest.fixture
def notifier(address: str) -> Iterator[Notifier]:
    made = Notifier(address, watchdog_interval=10.0)
    yield made
    made.close()


def test_each_message_is_one_datagram(systemd: Systemd, notifier: Notifier) -> None:
    notifier.ready("3 jobs running")
    notifier.status("4 jobs running")
    notifier.extend_timeout(2.5)
    notifier.watchdog()
    notifier.stopping("waiting for 2 jobs")
    assert systemd.heard() == [
        "READY=1\nSTATUS=3 jobs running",
        "STATUS=4 jobs running",
        "EXTEND_TIMEOUT_USEC=2500000",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=waiting for 2 jobs",
    ]


def test_a_status_cannot_smuggle_in_another_field(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("a\nMAINPID=1")
    assert systemd.heard() == ["STATUS=a MAINPID=1"]


def test_an_abstract_socket_is_reached() -> None:
    name = f"jqueue-test-{os.getpid()}"
    systemd = Systemd("\0" + name)
    notifier = Notifier("@" + name)
    notifier.watchdog()
    assert systemd.heard() == ["WATCHDOG=1"]
    notifier.close()
    systemd.socket.close()


def test_without_systemd_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready("serving")
    notifier.close()
    assert notifier.watchdog_interval is None


def test_nothing_is_sent_after_close(systemd: Systemd, notifier: Notifier) -> None:
    notifier.close()
    notifier.watchdog()
    assert systemd.heard() == []


def test_a_systemd_that_is_gone_is_logged(address: str) -> None:
    with capturedLogs() as events:
        notifier = Notifier(address)
        notifier.watchdog()
        notifier.close()
    assert [event["reason"] for event in events] == ["No such file or directory"]


def test_the_environment_is_taken_so_that_no_child_speaks_for_the_daemon(systemd: Systemd, address: str) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "17", "HOME": "/root"}
    notifier = Notifier.from_environment(environ, pid=17)
    notifier.watchdog()
    notifier.close()
    assert environ == {"HOME": "/root"}
    assert notifier.watchdog_interval == 60.0
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "18"}, None),
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": "17"}, None),
    ],
)
def test_the_watchdog_of_another_process_is_not_ours(environ: dict[str, str], interval: float | None) -> None:
    assert Notifier.from_environment(environ, pid=17).watchdog_interval == interval


def test_the_watchdog_is_fed_twice_in_its_interval_until_it_stops(systemd: Systemd, notifier: Notifier) -> None:
    clock = Clock()
    watchdog = Watchdog(notifier, clock)
    watchdog.startService()
    assert systemd.heard() == ["WATCHDOG=1"]
    clock.advance(4.9)
    assert systemd.heard() == []
    clock.advance(0.1)
    clock.advance(5)
    assert systemd.heard() == ["WATCHDOG=1"] * 2
    watchdog.stopService()
    clock.advance(60)
    assert systemd.heard() == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("interval", [None, 0.0])
def test_no_watchdog_no_timer(interval: float | None) -> None:
    clock = Clock()
    watchdog = Watchdog(Notifier(None, interval), clock)
    watchdog.startService()
    assert clock.getDelayedCalls() == []
    watchdog.stopService()
