"""Serves QMP for a queue that is only in memory, for the interop tests: qmp_server.py SOCKET.

It ends by quit, or when stdin does.
`OP_TEST_DELAY` runs until it is cancelled, unless its duration is 0; everything else is done at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from jqueue.errors import GenericError, JobLost, OpPrereqError
from jqueue.jobs.lifecycle import check_verb
from jqueue.rpc.listen import listen_unix
from jqueue.rpc.output import OutputLimits
from jqueue.rpc.peer import Roles
from jqueue.rpc.qmp.api import JobInfo, Listener
from jqueue.rpc.qmp.server import Limits, QmpFactory
from jqueue.turns import Turns

LIMITS = Limits(connections=200, linger=2.0, output=OutputLimits(notices=1000, stalled=20.0))
running: Any = reactor


@dataclass
class Job:
    """One job."""

    id: int
    kind: str
    endless: bool
    auto_finalize: bool
    auto_dismiss: bool
    status: str = "created"
    paused: bool = False
    speed: int = 0
    error: str | None = None

    @property
    def name(self) -> str:
        return f"job{self.id}"


class MemoryQueue:
    """Jobs that go through the states of QEMU's, and do nothing."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._last = 0
        self._listeners: list[Listener] = []

    def job_infos(self) -> list[JobInfo]:
        return [self._info(job) for job in reversed(self._jobs.values())]

    def _info(self, job: Job) -> JobInfo:
        info: dict[str, object] = {
            "id": job.id,
            "type": job.kind,
            "status": job.status,
            "current-progress": 0,
            "total-progress": 1,
            "speed": job.speed,
            "paused": job.paused,
            "busy": False,
            "ready": False,
            "auto-finalize": job.auto_finalize,
            "auto-dismiss": job.auto_dismiss,
        }
        return info if job.error is None else {**info, "error": job.error}

    # Verbs

    def _find(self, job_id: int, verb: str) -> Job:
        if job_id not in self._jobs:
            raise JobLost(f"there is no job {job_id}")
        job = self._jobs[job_id]
        check_verb(job.status, verb, job.name)
        return job

    def pause(self, job_id: int) -> Deferred[None]:
        job = self._find(job_id, "pause")
        if job.paused:
            raise OpPrereqError("Job is already paused")
        job.paused = True
        self._become(job, "paused")
        return succeed(None)

    def resume(self, job_id: int) -> Deferred[None]:
        if job_id in self._jobs and not self._jobs[job_id].paused:
            raise OpPrereqError("Can't resume a job that was not paused")
        job = self._find(job_id, "resume")
        job.paused = False
        self._become(job, "running")
        return succeed(None)

    def set_speed(self, job_id: int, speed: int) -> Deferred[None]:
        job = self._find(job_id, "set-speed")
        if speed < 0:
            raise OpPrereqError("Parameter 'speed' expects a non-negative value")
        job.speed = speed
        return succeed(None)

    def cancel(self, job_id: int, force: bool) -> Deferred[None]:
        job = self._find(job_id, "cancel")
        if job.paused and not force:
            raise OpPrereqError(f"The block job for device '{job.name}' is currently paused")
        if job.paused:
            self.resume(job_id)
        job.error = "Operation canceled"
        self._become(job, "aborting")
        self._end(job, "BLOCK_JOB_CANCELLED")
        return succeed(None)

    def complete(self, job_id: int) -> Deferred[None]:
        self._find(job_id, "complete")
        return succeed(None)

    def finalize(self, job_id: int) -> Deferred[None]:
        self._end(self._find(job_id, "finalize"), "BLOCK_JOB_COMPLETED")
        return succeed(None)

    def dismiss(self, job_id: int) -> Deferred[None]:
        self._forget(self._find(job_id, "dismiss"))
        return succeed(None)

    # The life of a job

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        ops_of_jobs = [job["ops"] if isinstance(job, dict) else job for job in jobs]
        if not all(ops and isinstance(ops, list) and isinstance(ops[0], dict) for ops in ops_of_jobs):
            raise OpPrereqError("ops: a job needs at least one opcode")
        return succeed([self._add(ops[0], options) for ops in ops_of_jobs if isinstance(ops, list)])

    def _add(self, op: Mapping[str, object], options: Mapping[str, object]) -> int:
        self._last += 1
        kind = str(op["OP_ID"])
        job = self._jobs[self._last] = Job(
            self._last,
            kind.removeprefix("OP_").lower(),
            kind == "OP_TEST_DELAY" and op["duration"] != 0,
            options.get("auto_finalize") is not False,
            options.get("auto_dismiss") is True,
        )
        self._become(job, "created")
        running.callLater(0, self._run, job)
        return job.id

    def _run(self, job: Job) -> None:
        if job.status != "created":
            return
        self._become(job, "running")
        if not job.endless:
            self._become(job, "waiting")
            self._become(job, "pending")
            if job.auto_finalize:
                self._end(job, "BLOCK_JOB_COMPLETED")
            else:
                self._tell("BLOCK_JOB_PENDING", {"type": job.kind, "id": job.name})

    def _end(self, job: Job, event: str) -> None:
        data = {"device": job.name, "type": job.kind, "len": 1, "offset": 0, "speed": job.speed}
        self._tell(event, data)
        self._become(job, "concluded")
        if job.auto_dismiss:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        self._become(job, "null")
        del self._jobs[job.id]

    def _become(self, job: Job, status: str) -> None:
        job.status = status
        self._tell("JOB_STATUS_CHANGE", {"status": status, "id": job.name})

    # Events and the end

    def quit(self) -> Deferred[None]:
        self._tell("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
        for job in list(reversed(self._jobs.values())):
            if job.status != "concluded":
                self.cancel(job.id, True)
            if job.id in self._jobs:
                self._forget(job)
        return succeed(None)

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, name: str, data: Mapping[str, object]) -> None:
        for listener in list(self._listeners):
            listener(name, data)


class StopWithStdin(Protocol):
    """Ends the server when the test is gone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if running.running:
            running.stop()


def main() -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    factory = QmpFactory(
        running, Turns(running), MemoryQueue(), Roles(), wall=time.time, stop=running.stop, limits=LIMITS
    )
    listen_unix(running, Path(sys.argv[1]), factory)
    stdio.StandardIO(StopWithStdin())
    running.run()


if __name__ == "__main__":
    main()
