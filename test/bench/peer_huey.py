"""Huey on SQLite in its default setting, which syncs each commit: submission and no-op jobs from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from .figure import Figure

_CLIENT = """
import sys, time
import huey_app
started = time.time()
for number in range(int(sys.argv[1])):
    huey_app.noop(number)
print(started, time.time())
"""
_TIMEOUT = 120.0


def missing() -> str | None:
    """Says why it cannot be measured."""
    return None if find_spec("huey") else "the package huey is not installed; pip install '.[bench]'"


def measure(directory: Path, jobs: int) -> Iterator[Figure]:
    """Measures with 10 threads; submission alone first, without a consumer."""
    how = "Huey's SqliteHuey as it is by default (synchronous=FULL), one client, one call after the other"
    with tempfile.TemporaryDirectory(dir=directory) as name:
        environment = _environment(Path(name))
        started, ended = _submit(environment, jobs)
        yield Figure("Huey: submissions, durable, one by one", jobs / (ended - started), "jobs/s", how)
    with tempfile.TemporaryDirectory(dir=directory) as name, tempfile.NamedTemporaryFile(dir="/dev/shm") as done:
        environment = {**_environment(Path(name)), "BENCH_DONE": done.name}
        consumer = subprocess.Popen(
            [sys.executable, "-m", "huey.bin.huey_consumer", "-q", "-w", "10", "-k", "thread", "huey_app.huey"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _submit(environment, 20)
            _wait(done.name, 20)
            started, _ = _submit(environment, jobs)
            seconds = _wait(done.name, jobs + 20) - started
        finally:
            consumer.kill()
            consumer.wait()
    yield Figure(
        "Huey: no-op jobs end to end",
        jobs / seconds,
        "jobs/s",
        f"{how}; huey_consumer -w 10 -k thread; until the last of {jobs} tasks has run",
    )


def _environment(directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "BENCH_DATABASE": str(directory / "huey.db"),
        "BENCH_DONE": str(directory / "done"),
    }


def _submit(environment: dict[str, str], jobs: int) -> tuple[float, float]:
    """@return: wall times of the first submission and after the last"""
    output = subprocess.run(
        [sys.executable, "-c", _CLIENT, str(jobs)], env=environment, check=True, capture_output=True, text=True
    ).stdout
    started, ended = output.split()
    return float(started), float(ended)


def _wait(path: str, size: int) -> float:
    """@return: the wall time at which so many tasks have run"""
    until = time.monotonic() + _TIMEOUT
    while os.stat(path).st_size < size:
        if time.monotonic() > until:
            raise RuntimeError(f"Huey ran {os.stat(path).st_size} of {size} tasks in {_TIMEOUT:.0f} s")
        time.sleep(0.002)
    return time.time()
