"""Jobs that a test brings into a state of their lifecycle, and keeps there; and what must be true when they have ended.

Their opcodes are those of `opcodes/staging.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jqueue.jobs.lifecycle import STATES
from jqueue.jobs.status import FINALIZED, SUCCESS

from .daemon import Daemon, wait_until

STAGING: dict[str, object] = {"modules": ["staging"]}
"""The section `opcodes` of a daemon's configuration that loads them."""
LEAVE = "LeaveJob"
"""What a soft cancel is called among the steps of a case."""


@dataclass(frozen=True)
class Kind:
    """A job, and how it is brought into a state."""

    steps: tuple[str, ...]
    """In order: a lifecycle state or a note to wait for, a method to call, or `open STAGE`."""
    holds: tuple[str, ...] = ()
    """The stages at which it stops."""
    again: bool = False
    """Whether it may run again after a crash."""
    busy: bool = False
    """Whether it waits for a lock that is not to be had."""
    job: Mapping[str, object] = field(default_factory=dict)
    """Members of its description."""
    op: Mapping[str, object] = field(default_factory=dict)
    """Parameters of its opcode."""


@dataclass(frozen=True)
class Case:
    """A lone job, or a group, in a state; what a crash makes of it, and how it ends then."""

    members: tuple[Kind, ...]
    after: tuple[str, ...]
    """Of each job, behind the crash: status and lifecycle, and `held` if it is paused."""
    ends: tuple[str, ...]
    then: tuple[tuple[int, str], ...] = ()
    """What follows, by the number of the job, when each has made its own steps."""
    keeps: bool = True
    """Whether its locks are its own all the time, over the crash, to its end."""


PENDING_JOB = {"auto_finalize": False}

CREATED = Kind(("created",), busy=True)
HELD = Kind(("created", "PauseJob"), busy=True)
RUNNING = Kind(("exec",), holds=("exec",))
PAUSED = Kind(("exec", "PauseJob", "paused"), holds=("exec",))
READY = Kind(("ready",), op={"converges": True})
STANDBY = Kind(("ready", "PauseJob", "standby"), op={"converges": True})
COMPLETED = Kind(("ready", "CompleteJob", "told complete"), op={"converges": True}, holds=("told",))
LEFT = Kind(("ready", LEAVE, "told leave"), op={"converges": True}, holds=("told",))
COMPLETED_STANDBY = replace(STANDBY, steps=(*STANDBY.steps, "CompleteJob"))
DONE = Kind(("waiting",))
PENDING = Kind(("pending",), job=PENDING_JOB)
COMMITTING = Kind(("commit",), holds=("commit",))
FAILING = Kind(("abort",), holds=("abort",), op={"fails": ["exec"]})
CANCELING = Kind(("exec", "CancelJob"), holds=("exec",), op={"deaf": True})
UNDONE = Kind(("exec", "CancelJob", "abort"), holds=("exec", "abort"))
ENDED = Kind(("concluded",))
DISMISSED = Kind(("null",), job={"auto_dismiss": True})


def again(kind: Kind) -> Kind:
    """The same job, whose opcode may run again."""
    return replace(kind, again=True)


def declared(kind: Kind, lock: str) -> Kind:
    """The same job, whose opcode finds out only when it is about to run which lock it needs."""
    return replace(kind, op={**kind.op, "OP_ID": "OP_STAGE_DECLARED", "declares": [lock], "locks": None})


def lone(kind: Kind, after: str = "", end: str = "", *, keeps: bool = True) -> Case:
    """The case of a job without a group."""
    return Case((kind,), (after,), (end,), keeps=keeps)


class Stages:
    """The jobs of one test, on a daemon."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self.notes = directory / "notes"
        self._directory = directory

    # Making them

    def op(self, name: str, kind: Kind) -> dict[str, object]:
        """Makes the opcode of a job; its lock has the name of the job."""
        locks = {name: "exclusive", **({"busy": "shared"} if kind.busy else {})}
        return {
            "OP_ID": "OP_STAGE_AGAIN" if kind.again else "OP_STAGE",
            "notes": str(self.notes),
            "gates": {stage: str(self._gate(name, stage)) for stage in kind.holds},
            "locks": {"resource": locks},
            **kind.op,
        }

    def _gate(self, name: str, stage: str) -> Path:
        return self._directory / f"gate-{name}-{stage}"

    def open(self, name: str, *stages: str) -> None:
        """Lets a job go on."""
        for stage in stages:
            self._gate(name, stage).touch()

    def submit(self, name: str, case: Case) -> list[int]:
        """Submits the jobs of a case, as a group if there are several, and brings them where they belong."""
        names = [f"{name}-{number}" for number in range(len(case.members))]
        jobs = [
            {"name": each, "ops": [self.op(each, kind)], **kind.job}
            for each, kind in zip(names, case.members, strict=True)
        ]
        answer = self.daemon.call("SubmitManyJobs", jobs, {"group": name} if len(jobs) > 1 else {})
        ids = [job_id for _, job_id in answer]
        steps = [(number, step) for number, kind in enumerate(case.members) for step in kind.steps]
        for number, step in (*steps, *case.then):
            self._take(step, ids[number], names[number])
        return ids

    def _take(self, step: str, job_id: int, name: str) -> None:
        if step in STATES:
            self.until(job_id, step)
        elif step == LEAVE:
            assert self.daemon.call("CancelJob", job_id, False, True)[0] is True
        elif step.endswith("Job"):
            assert self.daemon.call(step, job_id)[0] is True, f"{step} of {name}"
        elif step.startswith("open "):
            self.open(name, step.removeprefix("open "))
        else:
            wait_until(lambda: step in self.noted(job_id), f"{name} to note {step}")

    # What they are

    def until(self, job_id: int, lifecycle: str) -> None:
        """Waits until a job is in a state."""
        wait_until(lambda: self.rows([job_id], "lifecycle") == [[lifecycle]], f"job {job_id} to be {lifecycle}")

    def rows(self, ids: Sequence[int], *fields: str) -> list[list[Any]]:
        """Asks for fields of jobs."""
        rows: list[list[Any]] = self.daemon.call("QueryJobs", list(ids), list(fields), None)
        return rows

    def described(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Says of each job what `Case.after` says."""
        rows = self.rows(ids, "status", "lifecycle", "paused")
        return tuple(f"{status} {lifecycle}{' held' if paused else ''}" for status, lifecycle, paused in rows)

    def until_described(self, name: str, ids: Sequence[int], wanted: tuple[str, ...]) -> None:
        """Waits until jobs are what `Case.after` says."""
        found: list[tuple[str, ...]] = []

        def is_so() -> bool:
            found.append(self.described(ids))
            return found[-1] == wanted

        try:
            wait_until(is_so, f"{name} to be {wanted}")
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {found[-1]}") from late

    def noted(self, job_id: int, op: int = 0) -> list[str]:
        """What an opcode of a job has noted, in order."""
        pairs = (line.split(" ", 1) for line in self.all_notes())
        return [what for who, what in pairs if who == f"{job_id}.{op}"]

    def all_notes(self) -> list[str]:
        """What all have noted, in order."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    # Their end

    def drive(self, ids: Iterable[int]) -> None:
        """Lets jobs go on, tells them what they wait for, and waits until they have ended."""
        for name, ops in self.rows(list(ids), "name", "ops"):
            self.open(name, *(stage for op in ops for stage in op.get("gates", ())))
        wait_until(lambda: not self._drive(list(ids)), "the jobs to end", every=0.05)

    def _drive(self, ids: Sequence[int]) -> list[int]:
        rows = self.rows(ids, "id", "status", "lifecycle", "paused", "completion")
        left = [row for row in rows if row[1] not in FINALIZED]
        for job_id, _, lifecycle, paused, completion in left:
            if paused:
                self.daemon.call("ResumeJob", job_id)
            elif lifecycle == "ready" and completion is None:
                self.daemon.call("CompleteJob", job_id)
            elif lifecycle == "pending":
                self.daemon.call("FinalizeJob", job_id)
        return [row[0] for row in left]

    def check_ended(self, name: str, ids: Sequence[int]) -> None:
        """Checks jobs that belong together: all have an end, all count or none, and what was done fits to that."""
        rows = self.rows(ids, "id", "status", "phase", "end_ts", "received_ts", "opstatus", "auto_finalize", "members")
        for job_id, status, phase, end, received, *_ in rows:
            assert status in FINALIZED and phase == "done", f"{name}: job {job_id} is {status}, {phase}"
            assert end is not None and end >= received, f"{name}: job {job_id} ended at {end}"
        success = [row[1] == SUCCESS for row in rows]
        assert all(success) or not any(success), f"{name}: {rows}"
        for job_id, *_, opstatus, auto_finalize, members in rows:
            for op, status in enumerate(opstatus):
                # Of a job that is not deferred stands what an opcode has done, whatever becomes of those behind it.
                counts = status == SUCCESS if auto_finalize and members is None else success[0]
                check_noted(f"{name}: opcode {op} of job {job_id}", self.noted(job_id, op), success=counts)


def check_noted(who: str, noted: list[str], *, success: bool) -> None:
    """Checks what a job has noted: a commit behind its last attempt or an undo, never both."""
    commits = [place for place, what in enumerate(noted) if what.startswith("commit")]
    attempt = max((place for place, what in enumerate(noted) if what == "exec"), default=None)
    last_undo = max((place for place, what in enumerate(noted) if what == "abort done"), default=-1)
    if success:
        assert attempt is not None and "commit done" in noted, f"{who} counts, but was not committed: {noted}"
        assert last_undo < attempt < min(commits), f"{who} counts, but was undone: {noted}"
        assert "prepare done" in noted[attempt : min(commits)], f"{who} was committed without a prepare: {noted}"
    else:
        assert not commits, f"{who} does not count, but was committed: {noted}"
        assert attempt is None or attempt < last_undo, f"{who} does not count, but was not undone: {noted}"
