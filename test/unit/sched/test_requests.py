"""Request ids, by themselves; how a submission uses them is in `test_submission`."""

from __future__ import annotations

import pytest
from twisted.python.failure import Failure

from jqueue.errors import DiskFull, OpPrereqError
from jqueue.sched.requests import KEEP, Requests

KEY = (7, "r")


def test_the_first_of_a_kind_is_new_and_the_others_get_what_it_got() -> None:
    requests = Requests()
    assert requests.begin(KEY, b"x") is None
    early = requests.begin(KEY, b"x")
    requests.done(KEY, [1, 2])
    late = requests.begin(KEY, b"x")
    assert early is not None and late is not None
    assert (early.result, late.result) == ([1, 2], [1, 2])


def test_who_waits_for_one_that_fails_fails_with_it_and_it_is_forgotten() -> None:
    requests = Requests()
    requests.begin(KEY, b"x")
    waiting = requests.begin(KEY, b"x")
    assert waiting is not None
    failed: list[Failure] = []
    waiting.addErrback(failed.append)
    requests.done(KEY, Failure(DiskFull()))
    assert failed[0].check(DiskFull)
    assert requests.begin(KEY, b"other") is None


def test_the_same_id_of_another_user_is_another_request() -> None:
    requests = Requests()
    requests.begin(KEY, b"x")
    assert requests.begin((8, "r"), b"y") is None


@pytest.mark.parametrize("durable", [False, True])
def test_other_content_is_refused(durable: bool) -> None:
    requests = Requests()
    requests.begin(KEY, b"x")
    if durable:
        requests.done(KEY, [1])
    with pytest.raises(OpPrereqError, match="'r' was used for other jobs"):
        requests.begin(KEY, b"y")


def test_a_request_is_kept_for_a_day_after_all_its_jobs_have_been_seen_to_end() -> None:
    requests = Requests()
    requests.begin(KEY, b"x")
    unfinished = {1, 2}

    def known(now: float) -> bool:
        list(requests.expire(now, unfinished.__contains__))
        return bool(list(requests.serialize()))

    list(requests.expire(0, unfinished.__contains__))
    requests.done(KEY, [1, 2])
    assert known(10 * KEEP)
    unfinished.remove(1)
    assert known(20 * KEEP)
    unfinished.clear()
    assert known(30 * KEEP)
    assert known(31 * KEEP)
    assert not known(31 * KEEP + 1)
    assert requests.begin(KEY, b"y") is None


def test_what_is_durable_survives_and_what_is_not_does_not() -> None:
    requests = Requests()
    requests.begin(KEY, b"x")
    requests.begin((7, "later"), b"z")
    requests.done(KEY, [1])
    list(requests.expire(5, lambda job_id: False))
    other = Requests()
    other.restore(requests.serialize())
    assert list(other.serialize()) == [[7, "r", b"x", [1], 5]]
    again = other.begin(KEY, b"x")
    assert again is not None and again.result == [1]
    assert other.begin((7, "later"), b"z") is None
