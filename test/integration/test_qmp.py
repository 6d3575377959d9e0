"""QMP on the real daemon's `qmp.sock`, byte by byte: pause, cancel, quit, and what is left of a queue after it."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .daemon import PATIENCE, Daemon, wait_until

DELAY = {"OP_ID": "OP_TEST_DELAY", "duration": 60}
CANCELED = ["aborting", "BLOCK_JOB_CANCELLED", "concluded"]


class Client:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self.events: list[Any] = []
        assert "QMP" in self.receive()
        self.execute("qmp_capabilities")

    def close(self) -> None:
        """Reads nothing more."""
        self._lines.close()

    def receive(self) -> Any:
        """Gives the next message; None at the end."""
        line = self._lines.readline()
        assert not line or line.endswith(b"\r\n")
        return json.loads(line) if line else None

    def ask(self, command: str, **arguments: object) -> Any:
        """Gives the reply to a command, also if it is an error."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._connection.sendall(json.dumps({"execute": command, "arguments": named}).encode())
        while "event" in (message := self.receive()):
            self.events.append(message)
        return message

    def execute(self, command: str, **arguments: object) -> Any:
        """Gives what a command returns."""
        return self.ask(command, **arguments)["return"]

    def error(self, command: str, **arguments: object) -> str:
        """Gives the text of the error of a command."""
        text: str = self.ask(command, **arguments)["error"]["desc"]
        return text

    def submit(self, **options: object) -> str:
        """Submits a job that runs for long; gives its name."""
        name: str = self.execute("__org.jqueue_submit", ops=[DELAY], **options)["id"]
        return name

    def heard(self, job: str) -> list[str]:
        """The states of a job, and the names of its other events."""
        data = [(event["event"], event.get("data", {})) for event in self.events]
        return [each.get("status", name) for name, each in data if job in (each.get("id"), each.get("device"))]

    def until(self, job: str, state: str) -> None:
        """Waits until it has heard that a job is in a state."""

        def heard() -> bool:
            self.execute("query-version")
            return self.heard(job)[-1:] == [state]

        wait_until(heard, f"{job} to be {state}")

    def rest(self) -> None:
        """Hears everything to the end of the connection."""
        while (message := self.receive()) is not None:
            self.events.append(message)


@contextmanager
def connected(daemon: Daemon) -> Iterator[Client]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(daemon.runtime / "qmp.sock"))
        client = Client(connection)
        try:
            yield client
        finally:
            client.close()


def test_the_socket_is_there_with_the_other_and_has_its_permissions(daemon: Daemon) -> None:
    modes = {name: (daemon.runtime / name).stat().st_mode for name in ("rpc.sock", "qmp.sock")}
    assert all(stat.S_ISSOCK(mode) for mode in modes.values())
    assert modes["qmp.sock"] == modes["rpc.sock"]
    assert daemon.stop() == 0
    assert not (daemon.runtime / "qmp.sock").exists()


def test_a_job_is_paused_resumed_and_canceled(daemon: Daemon) -> None:
    with connected(daemon) as client:
        job = client.submit()
        client.until(job, "running")
        assert client.error("job-resume", id=job) == "Can't resume a job that was not paused"
        assert client.execute("job-pause", id=job) == {}
        client.until(job, "paused")
        assert client.error("job-pause", id=job) == "Job is already paused"
        assert client.error("block-job-cancel", device=job) == f"The block job for device '{job}' is currently paused"
        assert client.execute("job-resume", id=job) == {}
        client.until(job, "running")
        assert client.execute("job-pause", id=job) == client.execute("job-cancel", id=job) == {}
        client.until(job, "concluded")
        heard = client.heard(job)
        assert heard[:4] == ["created", "running", "paused", "running"]
        assert heard[-3:] == CANCELED
        (info,) = client.execute("query-jobs")
        assert (info["id"], info["status"], info["error"]) == (job, "concluded", "Operation canceled")
        assert client.execute("job-dismiss", id=job) == {}
        assert client.error("job-dismiss", id=job) == "Job not found"
        assert client.execute("query-jobs") == []


def test_pause_and_speed_outlive_the_daemon(daemon: Daemon) -> None:
    with connected(daemon) as client:
        client.execute("__org.jqueue_submit", ops=[{**DELAY, "not_before": 4_000_000_000}])
        assert client.execute("job-pause", id="job1") == {}
        assert client.execute("block-job-set-speed", device="job1", speed=65536) == {}
    daemon.kill()
    daemon.start()
    with connected(daemon) as client:
        (info,) = client.execute("query-block-jobs")
        assert (info["status"], info["paused"], info["speed"]) == ("created", True, 65536)
        assert client.execute("job-cancel", id="job1") == {}
        client.until("job1", "concluded")
        assert client.heard("job1") == ["aborting", "concluded"]


def test_quit_cancels_everything_answers_last_and_ends_the_daemon(daemon: Daemon) -> None:
    with connected(daemon) as client, connected(daemon) as other:
        jobs = [client.submit() for _ in range(3)]
        client.until(jobs[-1], "running")
        client.execute("job-pause", id=jobs[1])
        client.until(jobs[1], "paused")
        before = len(client.events)
        assert client.execute("quit") == {}
        del client.events[:before]
        assert client.receive() is None
        assert client.events[0]["event"] == "SHUTDOWN"
        assert client.events[0]["data"] == {"guest": False, "reason": "host-qmp-quit"}
        assert client.heard(jobs[0]) == client.heard(jobs[2]) == [*CANCELED, "null"]
        assert client.heard(jobs[1]) == ["running", *CANCELED, "null"]
        other.rest()
        assert other.events[-len(client.events) :] == client.events
    assert daemon.wait() == 0
    daemon.start()
    rows = daemon.call("QueryJobs", [1, 2, 3], ["status", "end_ts"], None)
    assert all(status == "canceled" and end for status, end in rows)


def test_a_signal_is_told_and_jobs_stay(daemon: Daemon) -> None:
    with connected(daemon) as client:
        client.execute("__org.jqueue_submit", ops=[{**DELAY, "not_before": 4_000_000_000}])
        assert daemon.stop() == 0
        client.rest()
        assert client.events[-1]["event"] == "SHUTDOWN"
        assert client.events[-1]["data"]["reason"] == "host-signal"
    daemon.start()
    assert daemon.status(1) in ("queued", "waiting")
