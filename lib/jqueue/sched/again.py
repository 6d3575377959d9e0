"""Doing once more what a job has not achieved: its description, made from the job that has ended."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from jqueue.errors import GenericError, OpPrereqError
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import SUCCESS


async def retry(
    job_id: int,
    everything: bool,
    load: Callable[[int], Coroutine[Deferred[Any], Any, _QueuedJob]],
    submit: Callable[[list[object], dict[str, object]], Deferred[list[int | GenericError | None]]],
) -> int:
    """Submits what a job has not achieved; a member of a group takes all of the group along, as a group.

    @param everything: also the opcodes that were successful
    @param load: gives a job, wherever it is
    @param submit: takes descriptions and options
    @return: the id of the job that stands for it
    @raise OpPrereqError: there is nothing to do, or a job has not ended
    @raise JobLost: a job is nowhere
    """
    job = await load(job_id)
    first, last = job.members or (job_id, job_id)
    described: list[object] = [again(await load(member), everything) for member in range(first, last + 1)]
    new_ids = await submit(described, {"group": job.group} if job.members else {})
    new_id = new_ids[job_id - first]
    assert isinstance(new_id, int), "whoever submits a single job, or a group, is refused by raising"
    return new_id


def again(job: _QueuedJob, everything: bool) -> dict[str, Any]:
    """Describes the job that does once more what a final one has not achieved.

    @param everything: also the opcodes that were successful
    @return: a description map
    @raise OpPrereqError: there is nothing to do, or the job has not ended
    """
    if not job.final:
        raise OpPrereqError(f"Job {job.id} has not ended; cancel it first, or wait for it")
    # What a deferred job had done before it failed was undone.
    all_of_it = everything or (job.deferred and job.CalcStatus() != SUCCESS)
    ops = [_fresh(op.input, job.id) for op in job.ops if all_of_it or op.status != SUCCESS]
    if not ops:
        raise OpPrereqError(f"Job {job.id} was successful; `jqueue retry --all {job.id}` runs all of it again")
    flags = {"auto_finalize": job.auto_finalize, "auto_dismiss": job.auto_dismiss}
    description: dict[str, Any] = {"ops": ops, **flags}
    if job.name is not None:
        description["name"] = job.name
    return description


def _fresh(state: Mapping[str, Any], job_id: int) -> dict[str, Any]:
    # What it depended on has been waited for; the jobs may be gone by now.
    fresh = {key: value for key, value in state.items() if key not in ("depends", "not_before", "lock_paths")}
    fresh["reason"] = [*(state.get("reason") or ()), ["jqueue:client:retry", f"job={job_id}", 0]]
    return fresh
