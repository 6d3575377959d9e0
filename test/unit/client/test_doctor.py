from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jqueue import __version__
from jqueue.client.checks import FAIL, OK, WARN, Check, size, span
from jqueue.client.doctor import examine
from jqueue.client.machine import Machine, Space, Usage
from jqueue.client.stuck import LONG, stuck
from jqueue.errors import DaemonUnreachable, ParameterError, PermissionDenied
from jqueue.store.statedir import DirectoryLock

from .queuedir import healthy

PID = 4711
GIB = 1 << 30


class FakeMachine(Machine):
    def __init__(self) -> None:
        self.files = Usage(20, 1024)
        self.instances = Usage(3, 128)
        self.watches = Usage(9, 8192)
        self.inotify: bool | None = True
        self.room = Space(50 * GIB, 100 * GIB, 900_000, 1_000_000)
        self.shown: Path | None = None

    def descriptors(self, pid: int) -> Usage:
        return self.files

    def has_inotify(self, pid: int) -> bool | None:
        return self.inotify

    def inotify_instances(self, uid: int) -> Usage:
        return self.instances

    def inotify_watches(self, uid: int) -> Usage:
        return self.watches

    def owner(self, pid: int) -> int | None:
        return 0

    def state_dir(self, pid: int) -> Path | None:
        return self.shown

    def space(self, directory: Path) -> Space:
        return self.room


class Daemon:
    """A daemon that is well, unless a test says otherwise."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "version": __version__,
            "pid": PID,
            "uptime": 100.0,
            "stopping": False,
            "drained": None,
            "jobs": {},
            "journal": {"full": False, "syncs": 5, "last_sync_seconds": 0.001, "max_sync_seconds": 0.02},
            "job_files": {"pending": 0, "lag": 0.0},
        }
        self.workers: dict[str, Any] = {"size": 2, "running": 0, "waiting": 0, "queued": 0, "jobs": []}
        self.paused: set[int] = set()
        self.role = "operator"
        self.refusal: Exception | None = None

    def call(self, method: str, *args: Any, timeout: float | None = None) -> Any:
        if self.refusal is not None:
            raise self.refusal
        match method:
            case "QueryStatus":
                return self.status
            case "WhoAmI":
                return {"uid": 0, "pid": 1, "role": self.role}
            case "QueryWorkers":
                return self.workers
            case "QueryJobs":
                return [[job_id, job_id in self.paused] for job_id in args[0]]
        raise AssertionError(method)


class Patient:
    """A daemon, its machine and its directory, and what is found out about them."""

    def __init__(self, directory: Path) -> None:
        self.made = healthy(directory)
        self.directory = directory
        self.daemon = Daemon()
        self.machine = FakeMachine()
        self.machine.shown = directory
        self.candidates = [directory]
        self.unreachable: Exception | None = None
        self.now = time.time()

    def connect(self) -> Daemon:
        if self.unreachable is not None:
            raise self.unreachable
        return self.daemon

    def checks(self) -> list[Check]:
        return list(examine(self.connect, self.machine, self.candidates, lambda: self.now))

    def complaint(self) -> Check:
        [found] = [check for check in self.checks() if check.level != OK]
        assert found.advice or found.level == FAIL
        return found


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path / "q")


def test_a_daemon_that_is_well_has_no_complaint(patient: Patient) -> None:
    checks = patient.checks()
    assert {check.level for check in checks} == {OK}
    assert [check.part for check in checks] == [
        *("socket", "version", "uptime", "drained", "journal", "job-files", "role", "waiting"),
        *("space", "clock", "files", "inotify", "inotify"),
    ]
    assert all(check.advice == "" for check in checks)
    assert checks[6].text == "you are root, operator: you may submit jobs and act on them"


Change = Callable[[Patient], None]


def of_status(**values: Any) -> Change:
    return lambda patient: patient.daemon.status.update(values)


def of_journal(**values: Any) -> Change:
    return lambda patient: patient.daemon.status["journal"].update(values)


def of_machine(**values: Any) -> Change:
    return lambda patient: vars(patient.machine).update(values)


@pytest.mark.parametrize(
    ("change", "level", "part", "text"),
    [
        (of_status(version="9.9"), WARN, "version", "the daemon is 9.9, this command"),
        (of_status(stopping=True), WARN, "uptime", "is stopping"),
        (of_status(drained="disk swap"), WARN, "drained", "new jobs are refused: disk swap"),
        (of_status(drained=""), WARN, "drained", "new jobs are refused"),
        (of_journal(full=True), FAIL, "journal", "the disk is full"),
        (of_journal(last_sync_seconds=0.9), WARN, "journal", "the last sync took 0.9 s"),
        (of_status(job_files={"pending": 7, "lag": 30.0}), WARN, "job-files", "7 job files are behind, by 30.0 s"),
        (of_machine(files=Usage(1000, 1024)), WARN, "files", "1000 of 1024"),
        (of_machine(instances=Usage(127, 128)), WARN, "inotify", "127 of 128 instances"),
        (of_machine(watches=Usage(8000, 8192)), WARN, "inotify", "8000 of 8192 watches"),
        (of_machine(inotify=False), WARN, "inotify", "the daemon runs without it"),
        (of_machine(room=Space(10 << 20, 100 * GIB, 9, 10)), FAIL, "space", "10 MiB of 100.0 GiB free"),
        (of_machine(room=Space(4 * GIB, 100 * GIB, 9, 10)), WARN, "space", "4.0 GiB of 100.0 GiB free"),
        (of_machine(room=Space(50 * GIB, 100 * GIB, 4, 1000)), WARN, "space", "4 of 1000 files (inodes) left"),
    ],
)
def test_what_is_not_well_is_named_with_what_to_do(
    patient: Patient, change: Change, level: str, part: str, text: str
) -> None:
    change(patient)
    complaint = patient.complaint()
    assert (complaint.level, complaint.part) == (level, part)
    assert text in complaint.text
    assert complaint.advice


def test_what_cannot_be_seen_is_no_complaint(patient: Patient) -> None:
    patient.machine.files = Usage(None, None)
    patient.machine.instances = patient.machine.watches = Usage(0, None)
    patient.machine.inotify = None
    patient.machine.room = Space(50 * GIB, 100 * GIB, 0, 0)
    assert {check.level for check in patient.checks()} == {OK}


# Reaching it


def test_a_daemon_that_does_not_answer_is_a_failure_and_the_rest_is_looked_at(patient: Patient) -> None:
    patient.unreachable = DaemonUnreachable("cannot reach the daemon on /x: there is no such socket")
    checks = patient.checks()
    assert (checks[0].level, checks[0].part, checks[0].text) == (FAIL, "socket", patient.unreachable.text)
    assert checks[0].advice == "if it has run before, its log says why it ended"
    assert [check.part for check in checks[1:]] == ["space", "clock", "inotify", "inotify"]


def test_a_daemon_that_runs_without_its_socket_is_told(patient: Patient) -> None:
    patient.unreachable = DaemonUnreachable("nobody listens there")
    lock = DirectoryLock(patient.made.state)
    lock.acquire()
    try:
        [first, *_] = patient.checks()
    finally:
        lock.release()
    assert f"a daemon, process {os.getpid()} " in first.advice
    assert f"uses {patient.directory}: it is still starting, or its socket is elsewhere" in first.advice


def test_a_daemon_that_hangs_is_unreachable(patient: Patient) -> None:
    patient.daemon.refusal = DaemonUnreachable("did not answer QueryStatus in time")
    assert patient.complaint().part == "socket"


@pytest.mark.parametrize("connected", [True, False])
def test_who_may_nothing_is_told_so(patient: Patient, connected: bool) -> None:
    refusal = PermissionDenied("you may not")
    if connected:
        patient.daemon.refusal = refusal
    else:
        patient.unreachable = refusal
    complaint = patient.complaint()
    assert (complaint.level, complaint.part, complaint.text) == (FAIL, "role", "you may not")


def test_an_older_daemon_is_told_with_its_version_and_what_it_lacks(patient: Patient) -> None:
    def call(method: str, *args: Any, timeout: float | None = None) -> Any:
        if method == "WhoAmI":
            raise ParameterError("there is no method WhoAmI")
        return Daemon.call(patient.daemon, method, *args)

    patient.daemon.status["version"] = "0.0.1"
    vars(patient.daemon)["call"] = call
    assert [check.part for check in patient.checks() if check.level == WARN] == ["version", "protocol"]


# Its directory and its clock


def test_the_directory_is_found_by_the_lock_that_names_the_daemon(patient: Patient, tmp_path: Path) -> None:
    patient.machine.shown = None
    other = Patient(tmp_path / "other")
    patient.candidates = [other.directory, patient.directory, tmp_path / "nothing"]
    assert patient.complaint().text == "it is not known which directory the daemon uses"
    lock = DirectoryLock(patient.made.state)
    lock.acquire()
    patient.daemon.status |= {"pid": os.getpid(), "uptime": 0.0}
    try:
        [space] = [check for check in patient.checks() if check.part == "space"]
    finally:
        lock.release()
    assert space.text.endswith(f"free for {patient.directory}")


def test_a_clock_behind_the_journal_is_told(patient: Patient) -> None:
    patient.now -= 10_800
    complaint = patient.complaint()
    assert (complaint.level, complaint.part) == (WARN, "clock")
    assert "the journal was written 3 h from now" in complaint.text


def test_a_clock_that_was_never_set_is_a_failure(patient: Patient) -> None:
    patient.now = 12.0
    complaint = patient.complaint()
    assert (complaint.level, complaint.part) == (FAIL, "clock")


@pytest.mark.parametrize(("uptime", "way"), [(0.0, "forward"), (7200.0, "back")])
def test_a_clock_that_was_set_since_the_start_is_told(patient: Patient, uptime: float, way: str) -> None:
    lock = DirectoryLock(patient.made.state)
    lock.acquire()
    patient.daemon.status |= {"pid": os.getpid(), "uptime": uptime}
    patient.now += 3600
    try:
        complaint = patient.complaint()
    finally:
        lock.release()
    assert f"the clock was set {way} by 60 min since the daemon's start" in complaint.text


# Jobs that do not get on


def waiting(job_id: int, since: float, *holders: int, lock: str = "file/x") -> dict[str, Any]:
    found = {"id": job_id, "state": "waiting", "kind": "lock", "text": "", "since": since, "lock": lock}
    return {**found, "holders": [{"id": holder} for holder in holders]}


def stuck_in(daemon: Daemon, *jobs: dict[str, Any]) -> list[str]:
    daemon.workers["jobs"] = list(jobs)
    return [f"{check.level}: {check.text}; {check.advice}" for check in stuck(daemon)]


def test_jobs_behind_a_paused_one_are_told_once_a_lock() -> None:
    daemon = Daemon()
    daemon.paused = {1}
    asked = stuck_in(daemon, waiting(2, 30, 1), waiting(3, 600, 1), waiting(5, 9, 4, lock="file/y"))
    assert asked == [
        "warn: job 3 (and 1 more) has waited 10 min for file/x, which job 1 has; it is paused;"
        " `jqueue resume 1` or `jqueue cancel 1`"
    ]


def test_one_that_is_paused_in_the_middle_of_an_opcode_counts_too() -> None:
    told = stuck_in(Daemon(), {"id": 1, "state": "paused", "since": 5.0}, waiting(2, 30, 1, 7))
    assert told == [
        "warn: job 2 has waited 30 s for file/x, which jobs 1,7 have; paused: 1; `jqueue resume 1` or `jqueue cancel 1`"
    ]


def test_a_very_long_wait_for_a_lock_is_told() -> None:
    assert stuck_in(Daemon(), waiting(2, LONG - 1, 1)) == [
        "ok: 0 jobs wait, none behind a paused job or for over 60 min; "
    ]
    [told] = stuck_in(Daemon(), waiting(2, 2 * LONG, 1))
    assert told.startswith("warn: job 2 has waited 2 h for file/x, which job 1 has; `jqueue info 1`")


def test_a_pool_that_never_gets_free_is_told() -> None:
    daemon = Daemon()
    daemon.workers |= {"running": 2, "queued": 9}
    busy = [{"id": job_id, "state": "running", "since": 2 * LONG} for job_id in (1, 2)]
    [told] = stuck_in(daemon, *busy)
    assert told.startswith("warn: all 2 workers have been busy for over 2 h, 9 jobs are queued; `jqueue workers`")
    busy[0]["since"] = 1.0
    assert stuck_in(daemon, *busy)[0].startswith("ok")


def test_phrases() -> None:
    assert [span(seconds) for seconds in (0.4, 119, 120, 7200, 200_000)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]
    assert [size(count) for count in (5 << 20, 3 << 30)] == ["5 MiB", "3.0 GiB"]
