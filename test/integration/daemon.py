"""The real jqueued as a process of its own, for tests: start, stop, kill -9, restart, connect; and a pipelining client.

The fixture `make_daemon` in `test/conftest.py` hands these out and ends what a test leaves behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jqueue.client.blocking import Connection
from jqueue.client.messages import Messages, Response, refusal
from jqueue.errors import DaemonUnreachable

ROOT = Path(__file__).resolve().parents[2]
JQUEUED = ROOT / "daemons" / "jqueued"
OPCODES = Path(__file__).with_name("opcodes")
"""Modules with opcodes for tests; a daemon finds them, and loads those that its configuration names."""
PATIENCE = 30.0
"""Seconds after which something that should happen at once is called missing."""


def wait_until(happened: Callable[[], object], what: str, timeout: float = PATIENCE, every: float = 0.01) -> None:
    """Waits for something to become true.

    @param what: named in the failure
    """
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:.0f} s"
        time.sleep(every)


class Daemon:
    """A jqueued on directories of its own; its state outlives each of its processes."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Mapping[str, object]] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        state: Path | None = None,
    ) -> None:
        """Makes it; nothing runs before `start`.

        @param config: settings by section, as in the configuration file
        @param environment: variables beside those of the test
        @param wrapper: a command line to put in front, such as strace's
        @param state: the state directory; one below `directory` without it
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.state = state or directory / "state"
        self.runtime = Path(tempfile.mkdtemp(prefix="jq-"))  # the path of a socket has to be short
        self.socket = self.runtime / "rpc.sock"
        self.log = directory / "jqueued.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._config_file = directory / "jqueued.yaml"
        self._wrapper = tuple(wrapper)
        path = os.pathsep.join(filter(None, [str(OPCODES), os.environ.get("PYTHONPATH")]))
        self._environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
        self._connections: list[Connection | Pipeline] = []
        self.configure(config or {})

    def configure(self, config: Mapping[str, Mapping[str, object]]) -> None:
        """Sets the configuration of the next start."""
        self._config_file.write_text(yaml.safe_dump({name: dict(part) for name, part in config.items()}))

    # Its processes

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self.process is not None, "the daemon has not been started"
        return self.process.pid

    def spawn(self) -> subprocess.Popen[bytes]:
        """Starts a process and does not wait for it to listen."""
        assert self.process is None or self.process.poll() is not None, "the daemon still runs"
        options = ["-c", str(self._config_file), "--state-dir", str(self.state), "--runtime-dir", str(self.runtime)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._wrapper, sys.executable, str(JQUEUED), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        return self.process

    def start(self, timeout: float = PATIENCE) -> Daemon:
        """Starts a process and waits until it answers."""
        self.spawn()
        return self.answering(timeout)

    def answering(self, timeout: float = PATIENCE) -> Daemon:
        """Waits until the process that was spawned answers."""
        process = self.process
        assert process is not None, "the daemon has not been started"
        deadline = time.monotonic() + timeout
        while True:
            assert process.poll() is None, f"jqueued ended with {process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"jqueued does not answer:\n{self.said()}"
            try:
                with Connection(self.socket, timeout=timeout) as client:
                    client.call("QueryStatus")
                    return self
            except DaemonUnreachable:
                time.sleep(0.01)

    def refused(self, timeout: float = PATIENCE) -> tuple[int, str]:
        """Starts a process that is expected to end by itself.

        @return: its exit status, and what it said on stderr
        """
        before = len(self.said())
        status = self.spawn().wait(timeout)
        return status, self.said()[before:]

    def signal(self, number: int) -> None:
        """Sends a signal to the daemon alone."""
        assert self.process is not None, "the daemon has not been started"
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Waits for the daemon to end.

        @return: its exit status
        """
        assert self.process is not None, "the daemon has not been started"
        return self.process.wait(timeout)

    def stop(self, timeout: float = PATIENCE) -> int:
        """Stops it with SIGTERM.

        @return: its exit status
        """
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> Daemon:
        """Stops it, expects that to work, and starts it again."""
        assert self.stop() == 0, self.said()
        return self.start()

    def said(self) -> str:
        """Everything that its processes wrote to stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self) -> None:
        """Ends what is left of it, and removes its sockets."""
        for connection in self._connections:
            connection.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.runtime, ignore_errors=True)

    # Talking to it

    def connect(self, timeout: float = PATIENCE) -> Connection:
        """Opens a connection, closed at the latest with the daemon's `close`."""
        connection = Connection(self.socket, timeout=timeout)
        self._connections.append(connection)
        return connection

    def pipeline(self) -> Pipeline:
        """Opens a pipelining connection, closed at the latest with the daemon's `close`."""
        pipeline = Pipeline(self.socket)
        self._connections.append(pipeline)
        return pipeline

    def call(self, method: str, *arguments: object) -> Any:
        """Calls a method on a connection of its own."""
        with Connection(self.socket, timeout=PATIENCE) as client:
            return client.call(method, *arguments)

    def submit(self, *ops: Mapping[str, object], **options: object) -> int:
        """Submits one job.

        @return: its id
        """
        job_id: int = self.call("SubmitJob", [dict(op) for op in ops], options)
        return job_id

    def status(self, job_id: int) -> str | None:
        """The status of a job; None if there is no such job."""
        [[_, found]] = self.call("QueryJobs", [job_id], ["id", "status"], None)
        assert found is None or isinstance(found, str)
        return found

    def wait_for(self, job_id: int, *statuses: str, timeout: float = PATIENCE) -> str:
        """Waits until a job has one of the statuses; one of the final ones if none is given.

        @return: the status
        """
        wanted = statuses or ("success", "error", "canceled")
        wait_until(lambda: self.status(job_id) in wanted, f"job {job_id} to be {' or '.join(wanted)}", timeout)
        found = self.status(job_id)
        assert found is not None
        return found


class Pipeline:
    """A client that sends many requests before it reads the first answer."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        self._messages = Messages()
        self._answers: dict[int, Response] = {}
        self._unsent = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(os.fspath(path))

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def fileno(self) -> int:
        """Gives the descriptor, for `select`."""
        return self._socket.fileno()

    def request(self, method: str, *arguments: object) -> int:
        """Notes a request; `flush` sends it.

        @return: the number of its answer
        """
        number, data = self._messages.request(method, arguments)
        self._unsent += data
        return number

    def flush(self) -> None:
        """Sends what has been noted."""
        data, self._unsent = bytes(self._unsent), bytearray()
        self._socket.sendall(data)

    def receive(self) -> dict[int, Response]:
        """Waits for answers.

        @return: those that came, by number; empty if the daemon closed the connection
        """
        answers: dict[int, Response] = {}
        while not answers and (data := self._receive_bytes()):
            for message in self._messages.received(data):
                if isinstance(message, Response):
                    answers[message.msgid] = message
                elif error := refusal(message):
                    raise error
        return answers

    def _receive_bytes(self) -> bytes:
        try:
            return self._socket.recv(262_144)
        except ConnectionResetError:
            return b""

    def gather(self, numbers: Iterable[int]) -> list[Response]:
        """Sends what has been noted and waits for these answers.

        @return: them, in the order asked
        """
        self.flush()
        wanted = list(numbers)
        while any(number not in self._answers for number in wanted):
            came = self.receive()
            assert came, "the daemon closed the connection"
            self._answers.update(came)
        return [self._answers.pop(number) for number in wanted]
