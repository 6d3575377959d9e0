"""What the disk gives: the floor under every durable figure."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .figure import Figure, percentile
from .server import file_system


def measure(directory: Path, samples: int = 500) -> Iterator[Figure]:
    """Measures writes of 4 KiB with a sync each."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(samples):
            started = time.monotonic()
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - started)
    yield Figure(
        "the disk: append of 4 KiB and fdatasync, p50",
        percentile(times, 0.5) * 1e6,
        "us",
        f"{samples} times, p99 {percentile(times, 0.99) * 1e6:.0f} us, on {file_system(directory)}",
    )
