"""A process that serves QMP, for the real clients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("qmp_server.py")


class QmpServer:
    """A server in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "qmp.sock"
        self._log = directory / "log"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, PROGRAM, self.path], stdin=subprocess.PIPE, stderr=log, env=environment
            )
        deadline = time.monotonic() + 20
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(os.fspath(self.path)) == 0

    def said(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        """Waits for the end, which somebody else has asked for."""
        return self._process.wait(20)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0
        assert "Traceback" not in self.said()


@pytest.fixture
def qmp(tmp_path: Path) -> Iterator[QmpServer]:
    server = QmpServer(tmp_path)
    yield server
    server.close()
