"""Every command for jobs in every state that a job can be in, answered as QEMU's recorded answers are.

`traces/legality.json` has them, by state and command: the reply, the events that follow, and what the job is then.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ..integration.daemon import Daemon, wait_until
from .replay import story
from .replay.equivalent import OPCODE
from .replay.monitor import Monitor, wait

TABLE: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(
    (Path(__file__).parent / "traces" / "legality.json").read_text()
)
HELD = {"OP_ID": OPCODE, "chunk_size": 1 << 30, "pay_last": True, "speed": 4096}
"""Sits in its speed limit."""
BUSY = {"OP_ID": OPCODE, "busy": 3.0}
"""Notices nothing for a while; it ends later than the test."""
DONE = {"OP_ID": OPCODE}
CONVERGING = {"OP_ID": OPCODE, "converges": True}

SUBMISSIONS: Mapping[str, tuple[Mapping[str, object], bool]] = {
    "running": (HELD, True),
    "running+pause-requested": (BUSY, True),
    "running+cancel-requested": (BUSY, True),
    "paused": (HELD, True),
    "ready": (CONVERGING, False),
    "standby": (CONVERGING, False),
    "pending": (DONE, False),
    "concluded-ok": (DONE, True),
    "concluded-failed": (HELD, True),
    "null": (DONE, True),
}
"""By state: the opcode of the job, and whether it is finalised by itself. A job that is waiting is made otherwise."""
WAYS: Mapping[str, Sequence[str]] = {
    "running": ("running",),
    "running+pause-requested": ("running", "job-pause"),
    "running+cancel-requested": ("running", "job-cancel"),
    "paused": ("running", "job-pause", "paused"),
    "ready": ("ready",),
    "standby": ("ready", "job-pause", "standby"),
    "waiting": ("waiting",),
    "pending": ("pending",),
    "concluded-ok": ("concluded",),
    "concluded-failed": ("running", "job-cancel", "concluded"),
    "null": ("concluded", "job-dismiss", "null"),
}
"""By state: what to wait for, and what to do, until the job is in it."""


class Client:
    """A client of a daemon that all tests here share; each has jobs of its own."""

    def __init__(self, daemon: Daemon, notes: Path) -> None:
        self._numbers = count()
        self._notes = notes
        self._monitor = Monitor(daemon.runtime / "qmp.sock", lambda: next(self._numbers))
        self.result("qmp_capabilities")

    def close(self) -> None:
        self._monitor.close()

    def ask(self, command: str, **arguments: object) -> Any:
        """Gives the reply to a command."""
        self._monitor.ask(command, arguments, "legality")
        assert wait([self._monitor], lambda: bool(self._monitor.replies)), f"no reply to {command}"
        return self._monitor.replies.popleft()

    def result(self, command: str, **arguments: object) -> Any:
        """Gives what a command returns."""
        reply = self.ask(command, **arguments)
        assert "return" in reply, reply
        return reply["return"]

    def let_go(self) -> None:
        """Cancels what is left of the jobs, so that they give up their workers."""
        for row in self.result("query-jobs"):
            if row["status"] != "concluded":
                self.ask("job-cancel", id=row["id"])

    def heard(self, job: str) -> list[str]:
        """The events of a job: statuses, and the names of others."""
        return [each.event.name for each in self._monitor.heard.get(job, [])]

    def hears(self, job: str, *events: str) -> None:
        """Waits until it has heard the last of some events of a job."""
        assert wait([self._monitor], lambda: events[-1] in self.heard(job)), f"{job}: {self.heard(job)}"

    def info(self, job: str) -> Mapping[str, Any] | None:
        """Describes a job."""
        rows: list[Mapping[str, Any]] = self.result("query-jobs")
        return next((row for row in rows if row["id"] == job), None)

    def works(self, job: str) -> None:
        """Waits until the code of a job has begun; that it is `running` is told a moment before."""
        note = f"{job.removeprefix('job')}.0 exec"
        wait_until(
            lambda: self._notes.exists() and note in self._notes.read_text().splitlines(), f"the code of {job} to run"
        )

    def bring(self, state: str) -> dict[str, str]:
        """Makes a job, and brings it into a state.

        @return: by its name in the table, its id; of its sibling as well
        """
        if state == "waiting":
            pair = [{"ops": [op], "auto_dismiss": False} for op in (DONE, HELD)]
            j, other = self.result("__org.jqueue_submit-many", jobs=pair, group=True)["ids"]
            self.hears(other, "running")
        else:
            op, automatic = SUBMISSIONS[state]
            ops = [{**op, "notes": str(self._notes)}]
            j = self.result("__org.jqueue_submit", ops=ops, **{"auto-finalize": automatic, "auto-dismiss": False})["id"]
            other = ""
        for step in WAYS[state]:
            if step.startswith("job-"):
                self.result(step, id=j)
            else:
                self.hears(j, step)
            if step == "running":
                self.works(j)
        return {"j": j, "other": other}


@pytest.fixture(scope="module")
def shared_client() -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory) / "daemon").start()
        client = Client(daemon, Path(directory) / "notes")
        yield client
        client.close()
        daemon.close()
        assert "Traceback" not in daemon.said(), daemon.said()


@pytest.fixture
def client(shared_client: Client) -> Iterator[Client]:
    yield shared_client
    shared_client.let_go()


@pytest.mark.parametrize("state, command", [(state, command) for state in TABLE for command in TABLE[state]])
def test_a_command_is_answered_in_a_state_as_recorded(state: str, command: str, client: Client) -> None:
    cell = TABLE[state][command]
    ids = client.bring(state)
    before = {name: len(client.heard(job)) for name, job in ids.items()}

    name, _, force = command.partition("(")
    argument = "id" if name.startswith("job-") or name in ("block-job-finalize", "block-job-dismiss") else "device"
    extra = {"force": True} if force else {"speed": 65536} if name == "block-job-set-speed" else {}
    reply = client.ask(name, **{argument: ids["j"]}, **extra)

    if cell["reply"] == "ok":
        assert reply["return"] == {}
    else:
        error_class, text = cell["reply"]
        assert reply["error"] == {"class": error_class, "desc": text.replace("'j'", f"'{ids['j']}'")}
    events: dict[str, list[str]] = {name: [] for name in ids}
    for event, status, of in cell["events"]:
        events[of].append(status if event == story.STATUS_CHANGE else event)
    for each, expected in events.items():
        if expected:
            client.hears(ids[each], *expected)
    info = client.info(ids["j"])
    for each, expected in events.items():
        assert client.heard(ids[each])[before[each] :] == expected
    assert (info["status"] if info else "(gone)") == cell["status_after"]
    assert (info or {}).get("error") == cell["error_after"]
