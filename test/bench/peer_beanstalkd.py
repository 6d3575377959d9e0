"""beanstalkd with a synced binlog (-f 0), and bare loops as workers: no results, logs or retries, so it is a floor.

Its protocol is lines of text; what is needed of it is spoken here.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .figure import Figure, percentile
from .latency import sample

_WORKERS = 10
_TIMEOUT = 120.0


def missing() -> str | None:
    """Says why it cannot be measured."""
    return None if shutil.which("beanstalkd") else "the program beanstalkd is not installed; apt install beanstalkd"


def measure(directory: Path, jobs: int, samples: int) -> Iterator[Figure]:
    """Measures submission without workers, then end to end and the latency with 10 worker threads in one process."""
    how = "beanstalkd -b DIR -f 0, one client, one call after the other"
    with tempfile.TemporaryDirectory(dir=directory) as name:
        port = _free_port()
        server = subprocess.Popen(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", name, "-f", "0"])
        workers = None
        try:
            client = _Client(port)
            yield Figure("beanstalkd: submissions, durable, one by one", _submit(client, jobs), "jobs/s", how)
            workers = subprocess.Popen([sys.executable, "-m", __spec__.name, str(port)])
            client.command("watch done")
            for _ in range(jobs):
                client.take()
            started = time.monotonic()
            for _ in range(jobs):
                client.put(b"x")
            for _ in range(jobs):
                client.take()
            rate = jobs / (time.monotonic() - started)
            yield Figure(
                "beanstalkd: no-op jobs end to end",
                rate,
                "jobs/s",
                f"{how}; {_WORKERS} threads of reserve, put the result into a second tube, delete; {jobs} jobs",
            )

            def once() -> None:
                client.put(b"x")
                client.take()

            seconds = sample(once, samples)
            for share in (0.5, 0.99):
                yield Figure(
                    f"beanstalkd: latency of an idle queue, p{share * 100:.0f}",
                    percentile(seconds, share) * 1000,
                    "ms",
                    f"put until the result is reserved from the second tube, {samples} times, pauses of 5 to 30 ms",
                )
        finally:
            for process in (workers, server):
                if process is not None:
                    process.kill()
                    process.wait()


def _submit(client: _Client, jobs: int) -> float:
    started = time.monotonic()
    for _ in range(jobs):
        client.put(b"x")
    return jobs / (time.monotonic() - started)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class _Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        until = time.monotonic() + 10
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def command(self, line: str, body: bytes | None = None) -> list[bytes]:
        """Sends a command and gives the words of the answer."""
        data = line.encode() + b"\r\n"
        self._socket.sendall(data if body is None else data + body + b"\r\n")
        return self._reader.readline().split()

    def put(self, body: bytes) -> None:
        """Puts a job into the tube in use."""
        answer = self.command(f"put 0 0 3600 {len(body)}", body)
        if answer[0] != b"INSERTED":
            raise RuntimeError(f"beanstalkd answered {answer}")

    def take(self) -> None:
        """Waits for a job and deletes it."""
        self.delete(self.reserve())

    def reserve(self) -> int:
        """Waits for a job.

        @return: its id
        """
        answer = self.command("reserve")
        if answer[0] != b"RESERVED":
            raise RuntimeError(f"beanstalkd answered {answer}")
        self._reader.read(int(answer[2]) + 2)
        return int(answer[1])

    def delete(self, job_id: int) -> None:
        """Deletes a job that is reserved."""
        self.command(f"delete {job_id}")


def _work(port: int) -> None:
    client = _Client(port)
    client.command("use done")
    while True:
        job_id = client.reserve()
        client.put(b"y")
        client.delete(job_id)


if __name__ == "__main__":
    from threading import Thread

    for _ in range(_WORKERS):
        Thread(target=_work, args=(int(sys.argv[1]),)).start()
