"""A daemon of the benchmark's own: on a directory that is removed afterwards, started, killed and measured."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from .wire import Pipe

_START = 60.0


class Daemon:
    """One `jqueued`, from its start to its end."""

    def __init__(self, directory: Path, workers: int = 10) -> None:
        """Starts it and waits until it answers.

        @param directory: a real disk; a directory is made in it
        @param workers: size of its pool
        """
        self._directory = Path(tempfile.mkdtemp(prefix="state-", dir=directory))
        self._runtime = Path(tempfile.mkdtemp(prefix="jqb-"))
        self._socket = self._runtime / "rpc.sock"
        self.state = self._directory / "state"
        (self._directory / "config.yaml").write_text(f"workers:\n  size: {workers}\n")
        self.start()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The state stays until the whole run is over: ext4 makes files slowly for minutes where many were just removed.
        self.kill()
        shutil.rmtree(self._runtime)

    def start(self) -> float:
        """Starts the process.

        @return: seconds until it accepted a connection
        """
        started = time.monotonic()
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jqueue.daemon.main", "-c", str(self._directory / "config.yaml")]
                + ["--state-dir", str(self.state), "--runtime-dir", str(self._runtime)],
                stdout=log,
                stderr=log,
            )
        while time.monotonic() - started < _START and self._process.poll() is None:
            try:
                self.connect().close()
                return time.monotonic() - started
            except OSError:
                time.sleep(0.002)
        raise RuntimeError(f"jqueued did not start: {(self._directory / 'log').read_text()}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def connect(self) -> Pipe:
        """Makes a connection."""
        return Pipe(self._socket)

    def memory(self) -> int:
        """Gives its memory.

        @return: bytes, the proportional set size
        """
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("this kernel tells no PSS")

    def processor_time(self) -> float:
        """Gives the seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def syncs(self) -> int:
        """How often the journal was synced."""
        with self.connect() as pipe:
            return int(pipe.call("QueryStatus")["journal"]["syncs"])

    def files_written(self) -> float:
        """Waits until every job file is up to date.

        @return: seconds that took
        """
        started = time.monotonic()
        with self.connect() as pipe:
            while pipe.call("QueryStatus")["job_files"]["pending"]:
                time.sleep(0.02)
        return time.monotonic() - started


def busy(daemon: Daemon, workers: int) -> None:
    """Fills the pool with sleeping jobs, so that what is submitted then stays queued."""
    with daemon.connect() as pipe:
        ids = [pipe.call("SubmitJob", [{"OP_ID": "OP_TEST_DELAY", "duration": 3600}]) for _ in range(workers)]
        while any(row != ["running"] for row in pipe.call("QueryJobs", ids, ["status"])):
            time.sleep(0.01)


def file_system(path: Path) -> str:
    """Names the file system a path is on."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, mount, kind, *_ = line.split()
        if os.path.commonpath([mount, path.resolve()]) == mount and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]
