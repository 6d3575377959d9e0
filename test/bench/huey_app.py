"""The application that Huey's own consumer loads: one no-op task on SQLite with Huey's default durability."""

from __future__ import annotations

import os

from huey import SqliteHuey


def _noop(number: int) -> int:
    os.write(_DONE, b"x")
    return number


_DONE = os.open(os.environ["BENCH_DONE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
huey = SqliteHuey(filename=os.environ["BENCH_DATABASE"])
noop = huey.task()(_noop)
