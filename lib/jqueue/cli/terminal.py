"""What a verb talks to: standard streams, the environment, the clock, and the connection to the daemon.

Data goes to stdout, talk to stderr; a verb uses nothing of `sys` itself, so that a test can hand it all this.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TextIO

_PLAIN = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), *range(127, 160))}


class Connection(Protocol):
    """What a verb needs of `jqueue.client.blocking.Connection`."""

    def call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        """Calls a method and waits for its result."""

    def notifications(self, timeout: float | None = None) -> Iterator[tuple[str, list[Any]]]:
        """Gives (name, parameters) of what the daemon pushes, and ends when nothing came for `timeout` seconds."""

    def close(self) -> None:
        """Closes the connection."""


class Clock(Protocol):
    """The three calls of `time` that a verb may use."""

    def time(self) -> float:
        """Wall time in seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""

    def sleep(self, seconds: float, /) -> None:
        """Waits."""


class SystemClock:
    """The real clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)


@dataclass
class Terminal:
    """The streams and choices of one run of `jqueue`.

    `following` are the jobs that go on if the user presses Ctrl-C now.
    `was_connected` says whether the daemon ever answered.
    """

    connect: Callable[[], Connection]
    stdin: BinaryIO
    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    json: bool = False
    quiet: bool = False
    color: str = "auto"
    following: list[int] = field(default_factory=list)
    was_connected: bool = False
    _connection: Connection | None = None
    _erase: Callable[[], None] | None = None

    def connection(self) -> Connection:
        """Gives the connection to the daemon, made on first use.

        @raise errors.DaemonUnreachable: if the daemon does not answer
        """
        if self._connection is None:
            self._connection = self.connect()
            self.was_connected = True
        return self._connection

    def disconnect(self) -> None:
        """Closes the connection if there is one; the next `connection` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def before_each_line(self, erase: Callable[[], None] | None) -> None:
        """Sets what takes a progress bar off the screen before a line is written there."""
        self._erase = erase

    def out(self, line: str) -> None:
        """Writes one line of data."""
        if self._erase:
            self._erase()
        self.stdout.write(line + "\n")

    def emit(self, value: object) -> None:
        """Writes one JSON document on one line."""
        self.out(json.dumps(value, separators=(", ", ": ")))

    def flush(self) -> None:
        """Shows what was written so far; a verb that streams calls it before it waits."""
        self.stdout.flush()

    def say(self, line: str) -> None:
        """Talks to the user, unless asked to be quiet."""
        if not self.quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Tells the user something that matters, also when asked to be quiet."""
        if self._erase:
            self._erase()
        self.stdout.flush()
        self.stderr.write(printable(line) + "\n")
        self.stderr.flush()

    @property
    def colored(self) -> bool:
        """Whether data on stdout is coloured."""
        if self.color == "auto":
            return self.stdout.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"
        return self.color == "always"

    @property
    def width(self) -> int | None:
        """Columns of the terminal that shows stdout; None if it is none, and lines may be of any length."""
        columns = self.environ.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            return int(columns)
        if not self.stdout.isatty():
            return None
        import shutil

        return shutil.get_terminal_size().columns


def printable(text: str) -> str:
    """Spells out control characters, so that what a job says cannot reprogram a terminal; tabs stay."""
    return text.translate(_PLAIN)
