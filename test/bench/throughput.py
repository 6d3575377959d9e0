"""No-op jobs a second from end to end: durable submission until the client knows the result, job files included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .figure import Figure
from .server import Daemon
from .wire import FINAL, NOOP, Pipe

_STATUS = 1
_SAMPLE = 0.1


@dataclass
class Run:
    """What one run showed."""

    rate: float = 0.0
    processor: float = 0.0
    """Seconds of the daemon's processor time a job, its files included."""
    lags: list[float] = field(default_factory=list)
    lag_at_end: float = 0.0
    caught_up: float = 0.0


def measure(directory: Path, jobs: int) -> Iterator[Figure]:
    """Measures with 10 workers, each way of submitting on a fresh daemon.

    @param jobs: how many are run for each figure
    """
    for name, size, window, how in (
        ("one by one", 1, 1, "the next SubmitJob after the reply to the last"),
        ("window of 100", 1, 100, "100 calls of SubmitJob outstanding"),
        ("batches of 100", 100, 4, "4 calls of SubmitManyJobs with 100 jobs outstanding"),
    ):
        with Daemon(directory) as daemon:
            with daemon.connect() as pipe:
                _run(daemon, pipe, 200, size, window)
                run = _run(daemon, pipe, jobs, size, window)
            yield Figure(
                f"no-op jobs end to end, {name}",
                run.rate,
                "jobs/s",
                f"one client, {how}; results by Subscribe; {jobs} jobs, 10 workers, {daemon.syncs()} syncs,"
                f" {run.processor * 1e6:.0f} us of the daemon's processor time a job;"
                f" job files {max(run.lags, default=0.0):.2f} s behind at most, {run.lag_at_end:.2f} s at the end,"
                f" complete {run.caught_up:.2f} s later",
                "4 x Huey, 1.3 x beanstalkd -f 0",
            )


def _run(daemon: Daemon, pipe: Pipe, jobs: int, size: int, window: int) -> Run:
    pipe.call("Subscribe", {"jobs": None, "changes": True, "log": False})
    request: tuple[str, tuple[object, ...]] = (
        ("SubmitJob", (NOOP,)) if size == 1 else ("SubmitManyJobs", ([NOOP] * size,))
    )
    run = Run()
    used = daemon.processor_time()
    started = time.monotonic()
    pipe.send([request] * window)
    to_send, ended, look_at = jobs // size - window, 0, started + _SAMPLE
    while ended < jobs:
        free = 0
        for message in pipe.receive():
            if message[0] == 2:
                ended += message[2][0]["status"] in FINAL
            elif message[1] == _STATUS:
                run.lags.append(message[3]["job_files"]["lag"])
            else:
                free += 1
        if free and to_send > 0:
            more = min(free, to_send)
            pipe.send([request] * more)
            to_send -= more
        if time.monotonic() > look_at:
            look_at += _SAMPLE
            pipe.send([("QueryStatus", ())], _STATUS)
    run.rate = jobs / (time.monotonic() - started)
    run.lag_at_end = pipe.call("QueryStatus")["job_files"]["lag"]
    run.lags.append(run.lag_at_end)
    run.caught_up = daemon.files_written()
    run.processor = (daemon.processor_time() - used) / jobs
    return run
