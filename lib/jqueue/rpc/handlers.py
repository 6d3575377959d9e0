"""What each method does: from the checked values of a call to a call of the queue, in the order of the table.

Each returns the result or a Deferred of it; what it is for is said in the table, `jqueue.rpc.methods`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from jqueue.errors import GenericError, OpPrereqError
from jqueue.rpc import query as queries
from jqueue.rpc.api import QueueApi
from jqueue.rpc.peer import Role
from jqueue.rpc.session import Session

T = TypeVar("T")

MAX_LOG_ENTRIES = 1000
"""Log entries in one answer."""


def submit_job(queue: QueueApi, session: Session, ops: object, options: dict[str, object]) -> Deferred[int | None]:
    def only(results: list[int | GenericError | None]) -> int | None:
        result = results[0]
        if isinstance(result, GenericError):
            raise result
        return result

    return _submit(queue, session, [ops], options).addCallback(only)


def submit_many(
    queue: QueueApi, session: Session, jobs: list[object], options: dict[str, object]
) -> Deferred[list[tuple[bool, object]]]:
    def pairs(results: list[int | GenericError | None]) -> list[tuple[bool, object]]:
        return [(False, str(one)) if isinstance(one, GenericError) else (True, one) for one in results]

    return _submit(queue, session, jobs, options).addCallback(pairs)


def _submit(
    queue: QueueApi, session: Session, jobs: list[object], options: dict[str, object]
) -> Deferred[list[int | GenericError | None]]:
    return queue.submit(jobs, options, uid=session.peer.uid, admin=session.role is Role.ADMIN)


def query_jobs(queue: QueueApi, session: Session, ids: list[int], fields: list[str], qfilter: object) -> object:
    return queue.query_jobs(ids or None, fields, qfilter)


def query_fields(queue: QueueApi, session: Session, what: str, names: list[str] | None) -> object:
    return queries.query_fields(what, names)


def query(queue: QueueApi, session: Session, what: str, fields: list[str], qfilter: object) -> object:
    return queries.query(queue, what, fields, qfilter)


def wait(
    queue: QueueApi,
    session: Session,
    job_id: int,
    fields: list[str],
    prev_info: object,
    prev_serial: int | None,
    timeout: float,
) -> object:
    gone = session.until_closed()

    def forget(result: T) -> T:
        session.forget(gone)
        return result

    return queue.wait_for_change(job_id, fields, prev_info, prev_serial, timeout, gone).addBoth(forget)


def cancel(queue: QueueApi, session: Session, job_id: int, kill: bool, soft: bool) -> object:
    return queue.cancel(job_id, kill, soft)


def pause(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.pause(job_id)


def resume(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.resume(job_id)


def set_speed(queue: QueueApi, session: Session, job_id: int, speed: int) -> object:
    return queue.set_speed(job_id, speed)


def complete(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.complete(job_id)


def finalize(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.finalize(job_id)


def change_priority(queue: QueueApi, session: Session, job_id: int, priority: int) -> object:
    return queue.change_priority(job_id, priority, admin=session.role is Role.ADMIN)


def archive(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.archive(job_id)


def auto_archive(queue: QueueApi, session: Session, age: float, timeout: float) -> object:
    return queue.auto_archive(age, timeout)


def set_drain(queue: QueueApi, session: Session, drained: bool, reason: str) -> object:
    return queue.set_drain(reason if drained else None)


def retry(queue: QueueApi, session: Session, job_id: int, everything: bool) -> object:
    return queue.retry(job_id, everything, session.peer.uid)


def job_log(queue: QueueApi, session: Session, job_id: int, newer_than: int, limit: int) -> object:
    return queue.job_log(job_id, newer_than, min(limit, MAX_LOG_ENTRIES))


def explain(queue: QueueApi, session: Session, job_id: int) -> object:
    return queue.explain(job_id)


def query_locks(queue: QueueApi, session: Session) -> object:
    return queue.query_locks()


def query_workers(queue: QueueApi, session: Session) -> object:
    return queue.query_workers()


def query_status(queue: QueueApi, session: Session) -> object:
    return queue.query_status()


def who_am_i(queue: QueueApi, session: Session) -> object:
    return {"uid": session.peer.uid, "pid": session.peer.pid, "role": str(session.role)}


def subscribe(queue: QueueApi, session: Session, options: dict[str, Any]) -> bool:
    if session.notify is None:
        raise OpPrereqError("this protocol has no notifications; use WaitForJobChange")
    jobs = options.get("jobs")
    end = queue.subscribe(
        session.notify,
        jobs=None if jobs is None else set(jobs),
        changes=options.get("changes", True),
        log=options.get("log", False),
        lifecycle=options.get("lifecycle", False),
    )
    session.subscribed(end)
    return True


def unsubscribe(queue: QueueApi, session: Session) -> bool:
    session.subscribed(None)
    return True
