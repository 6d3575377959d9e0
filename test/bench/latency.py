"""Latency of an idle queue: from the submission of a no-op job until the client knows its result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .figure import Figure, percentile
from .server import Daemon
from .wire import FINAL, NOOP, Pipe


def measure(directory: Path, samples: int) -> Iterator[Figure]:
    """Measures both ways of hearing of the result on one daemon."""
    with Daemon(directory) as daemon:
        for name, once in (("WaitForJobChange", _wait), ("Subscribe", _hear)):
            with daemon.connect() as pipe:
                if name == "Subscribe":
                    pipe.call("Subscribe", {"jobs": None, "changes": True, "log": False})
                seconds = sample(partial(once, pipe), samples)
            for share, goal in ((0.5, "below beanstalkd -f 0; at most 2 ms"), (0.99, "")):
                yield Figure(
                    f"latency of an idle queue, {name}, p{share * 100:.0f}",
                    percentile(seconds, share) * 1000,
                    "ms",
                    f"{samples} jobs one after the other, pauses of 5 to 30 ms between them",
                    goal,
                )


def sample(once: Callable[[], None], samples: int) -> list[float]:
    """Times something again and again, at random distances.

    @return: seconds of each
    """
    chance = random.Random(1)
    times = []
    for _ in range(samples + 10):
        time.sleep(chance.uniform(0.005, 0.030))
        started = time.monotonic()
        once()
        times.append(time.monotonic() - started)
    return times[10:]


def _wait(pipe: Pipe) -> None:
    pipe.finish(pipe.call("SubmitJob", NOOP))


def _hear(pipe: Pipe) -> None:
    pipe.send([("SubmitJob", (NOOP,))])
    answered = ended = False
    while not (answered and ended):
        for message in pipe.receive():
            answered = answered or message[0] == 1
            ended = ended or (message[0] == 2 and message[2][0]["status"] in FINAL)
