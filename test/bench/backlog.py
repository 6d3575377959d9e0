"""A large backlog: memory of a queued job, start with the backlog there, and the list of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from .figure import Figure, percentile
from .server import Daemon, busy
from .submission import fill
from .wire import Pipe

_SLEEPER = [{"OP_ID": "OP_TEST_DELAY", "duration": 3600}]
_STARTS = 3


def measure(directory: Path, jobs: int) -> Iterator[Figure]:
    """Measures on one daemon.

    @param jobs: how many are queued
    """
    with Daemon(directory, workers=2) as daemon:
        busy(daemon, 2)
        daemon.files_written()
        before = daemon.memory()
        with daemon.connect() as pipe:
            # One for each restart: the first opcode that runs then, and goes on, so that the rest stays queued.
            sleepers = [pipe.call("SubmitJob", _SLEEPER) for _ in range(2 * _STARTS)]
            fill(pipe, jobs)
        behind = daemon.files_written()
        yield Figure(
            f"memory of a queued one-opcode job, {jobs:,} of them",
            (daemon.memory() - before) / jobs,
            "bytes",
            f"growth of the daemon's PSS by the backlog; job files complete {behind:.1f} s after the last submission",
            "600",
        )
        ready, first, after = [], [], 0
        for start in range(_STARTS):
            daemon.kill()
            started = time.time()
            ready.append(daemon.start())
            with daemon.connect() as pipe:
                first.append(_running_since(pipe, sleepers[2 * start]) - started)
                after = daemon.memory()
        how = f"after kill -9, {jobs:,} jobs queued; median of {_STARTS} starts"
        yield Figure("restart until the socket answers", percentile(ready, 0.5), "s", how)
        goal = "0.7" if jobs == 100_000 else ""
        yield Figure("restart until the first opcode runs", percentile(first, 0.5), "s", how, goal)
        yield Figure("memory of the whole daemon after it", after / 2**20, "MiB", "PSS, right after the last restart")
        with daemon.connect() as pipe:
            seconds = [_list(pipe, jobs) for _ in range(3)]
        yield Figure(
            f"list of {jobs:,} jobs",
            percentile(seconds, 0.5),
            "s",
            "QueryJobs(null, [id, status]), decoded by the client; median of 3",
            "0.5" if jobs == 100_000 else "",
        )


def _running_since(pipe: Pipe, job_id: int) -> float:
    """@return: the wall time at which the job's opcode started"""
    while True:
        [[started]] = pipe.call("QueryJobs", [job_id], ["opexec"])
        if started[0] is not None:
            seconds, microseconds = started[0]
            return float(seconds + microseconds / 1e6)
        time.sleep(0.002)


def _list(pipe: Pipe, jobs: int) -> float:
    started = time.monotonic()
    rows = pipe.call("QueryJobs", None, ["id", "status"])
    if len(rows) < jobs:
        raise RuntimeError(f"the list has {len(rows)} rows")
    return time.monotonic() - started
