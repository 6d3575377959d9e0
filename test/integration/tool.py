"""`jqueue` for tests, talking to a real daemon: at once in this process, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from jqueue.cli.main import main

from .daemon import PATIENCE, ROOT, Daemon, wait_until

JQUEUE = ROOT / "tools" / "jqueue"


class Said(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str


def jqueue(daemon: Daemon, *words: str) -> Said:
    """Runs a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    environ = {"JQUEUE_SOCKET": str(daemon.socket), "JQUEUE_DEBUG": "1"}
    status = main(words, stdout=out, stderr=err, environ=environ)
    return Said(status, out.getvalue(), err.getvalue())


class Running:
    """A command line in a process of its own, and what it has said so far."""

    def __init__(self, daemon: Daemon, directory: Path, *words: str) -> None:
        self._out, self._err = directory / "stdout", directory / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(JQUEUE), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "JQUEUE_SOCKET": str(daemon.socket)},
            )

    @property
    def out(self) -> list[str]:
        """The lines on standard output."""
        return self._out.read_text().splitlines()

    @property
    def err(self) -> str:
        """What is on standard error."""
        return self._err.read_text()

    def has_said(self, text: str) -> None:
        """Waits until it has said something, on either."""
        wait_until(lambda: text in self._out.read_text() + self.err, f"jqueue to say {text!r}")

    def wait(self) -> int:
        """Waits for its end.

        @return: its exit status
        """
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Ends it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
