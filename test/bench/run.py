"""`make bench`: every figure of the project and of its peers, from one run on one machine, with how it was measured.

Numbers of different runs are not to be compared: machines have moods. Ratios within one run are.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import backlog, disk, latency, lockgrant, loglines, peer_beanstalkd, peer_huey, submission, throughput
from .figure import Figure
from .server import file_system

Measure = Callable[[], Iterator[Figure]]


def main() -> int:
    """Prints the table as it comes.

    @return: the exit status
    """
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs and samples: less than a minute")
    parser.add_argument("--million", action="store_true", help="a backlog of 1,000,000 jobs as well")
    parser.add_argument("--only", metavar="WORD", help="only the measurements whose name has this word")
    parser.add_argument(
        "--directory", type=Path, default="/var/tmp", help="for the state directories (default: /var/tmp)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jqueue-bench-", dir=options.directory) as name:
        directory = Path(name)
        print(
            f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} processors"
            f", load {os.getloadavg()[0]:.1f}; state directories on {file_system(directory)}"
        )
        started = time.monotonic()
        complete = True
        for title, why_not, measure in _measurements(directory, options.quick, options.million):
            if options.only is None or options.only in title:
                complete = _print(title, why_not, measure) and complete
        print(f"\nmeasured in {time.monotonic() - started:.0f} s")
    return 0 if complete else 1


def _measurements(directory: Path, quick: bool, million: bool) -> Iterator[tuple[str, str | None, Measure]]:
    """@return: title, why it is left out, and the measurement"""
    jobs = 1_000 if quick else 10_000
    samples = 100 if quick else 400
    yield "disk", None, lambda: disk.measure(directory)
    yield "submission", None, lambda: submission.measure(directory, jobs)
    yield "throughput", None, lambda: throughput.measure(directory, jobs)
    yield "huey", peer_huey.missing(), lambda: peer_huey.measure(directory, jobs // 2)
    yield "beanstalkd", peer_beanstalkd.missing(), lambda: peer_beanstalkd.measure(directory, jobs, samples)
    yield "latency", None, lambda: latency.measure(directory, samples)
    yield "backlog", None, lambda: backlog.measure(directory, 10_000 if quick else 100_000)
    if million:
        yield "backlog of a million", None, lambda: backlog.measure(directory, 1_000_000 - 20)
    yield "log lines", None, lambda: loglines.measure(directory, 50_000 if quick else 1_000_000)
    yield "lock grant", None, lambda: lockgrant.measure()


def _print(title: str, why_not: str | None, measure: Measure) -> bool:
    """@return: whether nothing failed"""
    print(f"\n== {title}", flush=True)
    if why_not is not None:
        print(f"left out: {why_not}")
        return True
    os.sync()  # what the one before has left to be written would be in the way of this one's syncs
    try:
        for figure in measure():
            print(figure, flush=True)
    except (OSError, RuntimeError) as error:
        print(f"failed: {error}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
