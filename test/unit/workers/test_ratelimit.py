from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from jqueue.workers.ratelimit import RateLimit

MIB = 1 << 20


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limit(clock: Clock, speed: int) -> RateLimit:
    made = RateLimit(clock.seconds)
    made.set_speed(speed)
    return made


def test_without_a_limit_nothing_rests(clock: Clock) -> None:
    assert limit(clock, 0).delay(10**12) == 0


def test_below_the_quota_of_a_slice_nothing_rests(clock: Clock) -> None:
    account = limit(clock, 1000)
    assert [account.delay(49), account.delay(50)] == [0, 0]
    assert account.delay(1) == pytest.approx(0.1)


def test_a_piece_larger_than_the_quota_stretches_its_slice(clock: Clock) -> None:
    assert limit(clock, MIB).delay(MIB) == pytest.approx(1.0)
    assert limit(clock, 65536).delay(MIB) == pytest.approx(16.0)


def test_over_many_pieces_the_speed_is_kept(clock: Clock) -> None:
    account = limit(clock, MIB)
    for _ in range(100):
        clock.advance(account.delay(300_000))
    assert clock.seconds() == pytest.approx(100 * 300_000 / MIB, rel=0.01)


def test_time_spent_working_counts_as_rest(clock: Clock) -> None:
    account = limit(clock, MIB)
    account.delay(0)
    clock.advance(0.05)
    assert account.delay(MIB) == pytest.approx(0.95)


def test_idle_time_is_not_saved_up(clock: Clock) -> None:
    account = limit(clock, MIB)
    account.delay(1)
    clock.advance(60)
    assert account.delay(MIB) == pytest.approx(1.0)


def test_a_raised_limit_shortens_a_rest_that_was_cut_short(clock: Clock) -> None:
    account = limit(clock, MIB)
    account.delay(10 * MIB)
    clock.advance(1)
    account.set_speed(5 * MIB)
    assert account.delay(0) == pytest.approx(1.0)
    account.set_speed(0)
    assert account.delay(0) == 0


def test_the_slowest_limit_is_one_unit_a_slice(clock: Clock) -> None:
    assert limit(clock, 1).delay(3) == pytest.approx(0.3)
