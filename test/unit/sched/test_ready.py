"""The heap of jobs that are to be looked at."""

from __future__ import annotations

import pytest

from jqueue.sched.ready import ReadyHeap


def filled(*jobs: tuple[int, int], age_step: int = 1000) -> ReadyHeap:
    heap = ReadyHeap(age_step)
    for job_id, priority in jobs:
        heap.push(job_id, priority)
    return heap


def drain(heap: ReadyHeap) -> list[int]:
    return [heap.pop()[1] for _ in range(len(heap))]


def test_the_more_urgent_go_first_and_of_equals_the_older() -> None:
    assert drain(filled((3, 0), (1, 0), (4, -10), (2, 10))) == [4, 1, 3, 2]


def test_a_step_of_priority_is_worth_so_many_later_submissions_and_no_more() -> None:
    assert drain(filled((1, 1), (10, 0), age_step=9)) == [1, 10]
    assert drain(filled((1, 1), (10, 0), age_step=10)) == [10, 1]


def test_many_are_added_as_if_one_by_one() -> None:
    heap = filled((5, 0))
    heap.extend([(9, 0), (7, -1), (1, 1)])
    assert (heap.first(2), drain(heap)) == ([7, 5], [7, 5, 9, 1])


def test_a_job_that_was_added_twice_comes_out_with_both_ranks() -> None:
    heap = filled((1, 0), (1, -1))
    assert [heap.pop(), heap.pop()] == [(-999, 1), (1, 1)]


def test_the_place_of_a_job_is_the_number_of_those_before_it() -> None:
    heap = filled(*((job_id, 0) for job_id in range(1, 100)), (200, -1))
    assert (heap.place(200, -1), heap.place(1, 0), heap.place(99, 0)) == (0, 1, 99)
    assert heap.place(500, 0) == 100
    assert len(heap) == 100


def test_a_place_that_is_too_far_back_is_not_counted() -> None:
    heap = ReadyHeap(1000)
    heap.extend((job_id, 0) for job_id in range(1, 20_000))
    assert (heap.place(10_000, 0), heap.place(15_000, 0)) == (9_999, None)


def test_the_first_ones_are_told_without_taking_them_out() -> None:
    heap = filled((3, 0), (1, 0), (2, 0))
    assert (heap.first(2), heap.first(9), len(heap)) == ([1, 2], [1, 2, 3], 3)


def even(_rank: int, job_id: int) -> bool:
    return job_id % 2 == 0


def test_stale_entries_have_no_place() -> None:
    heap = filled(*((job_id, 0) for job_id in range(1, 10)))
    assert heap.first(3, even) == [2, 4, 6]
    assert heap.place(6, 0, even) == 2


def test_the_look_past_stale_entries_has_an_end() -> None:
    heap = ReadyHeap(1000)
    heap.extend((job_id, 0) for job_id in range(1, 20_000))
    asked: list[int] = []

    def stale(_rank: int, job_id: int) -> bool:
        asked.append(job_id)
        return False

    assert (heap.first(1, stale), heap.place(19_000, 0, stale)) == ([], None)
    assert len(asked) == 20_000


def test_sweeping_drops_stale_entries_and_keeps_the_others_in_order() -> None:
    jobs = [(job_id, -(job_id * 7 % 11)) for job_id in range(1, 200)]
    heap, expected = filled(*jobs, age_step=13), drain(filled(*jobs, age_step=13))
    for _ in range(60):
        heap.sweep(even)
    assert drain(heap) == [job_id for job_id in expected if job_id % 2 == 0]


def test_sweeping_costs_the_same_however_many_there_are() -> None:
    heap = ReadyHeap(1000)
    heap.extend((job_id, 0) for job_id in range(1, 1000))
    asked: list[int] = []

    def stale(_rank: int, job_id: int) -> bool:
        asked.append(job_id)
        return False

    heap.sweep(stale)
    assert (len(asked), len(heap)) == (4, 995)
    filled().sweep(stale)


def test_nothing_comes_out_of_an_empty_heap() -> None:
    heap = ReadyHeap(1000)
    assert (heap.first(3), len(heap), heap.place(1, 0)) == ([], 0, 0)
    with pytest.raises(IndexError):
        heap.pop()
