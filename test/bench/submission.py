"""Durable submissions a second: one by one, pipelined, in batches. The pool is busy, so nothing runs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .figure import Figure
from .server import Daemon, busy
from .wire import NOOP, Pipe, readable

_BATCH = 100


def measure(directory: Path, jobs: int) -> Iterator[Figure]:
    """Measures on a fresh daemon.

    @param jobs: how many are submitted for each figure
    """
    with Daemon(directory, workers=1) as daemon:
        busy(daemon, 1)
        for name, rate, how in (
            ("one by one", _one_by_one(daemon, jobs // 2), "one client, the next call after the reply to the last"),
            ("window of 100", _window(daemon, jobs, 1, 100), "one client, 100 calls of SubmitJob outstanding"),
            ("50 clients", _window(daemon, jobs, 50, 1), "50 connections, on each the next call after the reply"),
        ):
            yield Figure(f"submissions, durable, {name}", rate, "jobs/s", how)
        yield Figure(
            f"submissions, durable, batches of {_BATCH}",
            _batches(daemon, jobs * 2),
            "jobs/s",
            f"one client, SubmitManyJobs with {_BATCH} jobs, the next call after the reply to the last",
            "33,000",
        )


def _one_by_one(daemon: Daemon, jobs: int) -> float:
    with daemon.connect() as pipe:
        started = time.monotonic()
        for _ in range(jobs):
            pipe.call("SubmitJob", NOOP)
        return jobs / (time.monotonic() - started)


def _batches(daemon: Daemon, jobs: int) -> float:
    with daemon.connect() as pipe:
        started = time.monotonic()
        for _ in range(jobs // _BATCH):
            pipe.call("SubmitManyJobs", [NOOP] * _BATCH)
        return jobs / (time.monotonic() - started)


def _window(daemon: Daemon, jobs: int, clients: int, window: int) -> float:
    pipes = [daemon.connect() for _ in range(clients)]
    request = ("SubmitJob", (NOOP,))
    started = time.monotonic()
    for pipe in pipes:
        pipe.send([request] * window)
    sent, answered = clients * window, 0
    for pipe in readable(pipes):
        answers = sum(1 for _ in pipe.receive())
        answered += answers
        if answered >= jobs:
            break
        more = min(answers, jobs - sent)
        if more > 0:
            pipe.send([request] * more)
            sent += more
    rate = jobs / (time.monotonic() - started)
    for pipe in pipes:
        pipe.close()
    return rate


def fill(pipe: Pipe, jobs: int) -> list[int]:
    """Submits many jobs.

    @return: their ids
    """
    ids: list[int] = []
    while len(ids) < jobs:
        count = min(1000, jobs - len(ids))
        answers = pipe.call("SubmitManyJobs", list(islice([NOOP] * 1000, count)))
        ids.extend(job_id for _, job_id in answers)
    return ids
