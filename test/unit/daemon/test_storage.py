"""What the parts that touch the disk are given."""

from __future__ import annotations

import pytest

from jqueue.config import Config, Journal, Workers
from jqueue.daemon.storage import reserve_size

MIB = 1 << 20


@pytest.mark.parametrize(
    "workers, configured, expected", ((1, 4096, 4 * MIB), (10, 4 * MIB, 22 * MIB), (10, 64 * MIB, 64 * MIB))
)
def test_the_reserve_has_room_for_the_results_of_all_that_runs(workers: int, configured: int, expected: int) -> None:
    config = Config(workers=Workers(size=workers), journal=Journal(reserve=configured))
    assert reserve_size(config) == expected
