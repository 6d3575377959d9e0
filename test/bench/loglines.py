"""What a log line costs late in a long log, against what it costs at the log's start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .figure import Figure
from .server import Daemon


def measure(directory: Path, lines: int) -> Iterator[Figure]:
    """Measures with one job.

    @param lines: how many it logs
    """
    part = min(10_000, lines // 10)
    with Daemon(directory) as daemon, daemon.connect() as pipe:
        job_id = pipe.call("SubmitJob", [{"OP_ID": "OP_TEST_DELAY", "duration": 0, "repeat": lines}])
        before = daemon.memory()
        if pipe.finish(job_id) != "success":
            raise RuntimeError(f"job {job_id} did not log {lines} lines")
        grown = daemon.memory() - before
        early = _seconds(daemon.state / f"job-{job_id}.log", 10, part)
        late = _seconds(daemon.state / f"job-{job_id}.log", lines - part, part)
    yield Figure(
        f"a log line at line {lines:,} against line 10",
        late / early,
        "x",
        f"time stamps of the {part:,} lines there in the log of one opcode ({early / part * 1e6:.0f} and"
        f" {late / part * 1e6:.0f} us a line); the daemon grew by {grown / 2**20:.1f} MiB",
        "1.0",
    )


def _seconds(path: Path, first: int, count: int) -> float:
    """@return: seconds between the line with the index `first` and the one `count` lines later"""
    with path.open("rb") as file:
        lines = list(islice(file, first - 1, first + count))
    begin, end = (json.loads(lines[index])[2] for index in (0, -1))
    return float(end[0] - begin[0] + (end[1] - begin[1]) / 1e6)
