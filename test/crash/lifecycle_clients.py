"""Clients that drive jobs and groups through their lives, and remember what they asked for and what they were answered.

Each has jobs of its own, so that it knows in which order its verbs took effect. What must follow from the answers is
checked in `test_lifecycle_kill.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jqueue.client.blocking import Connection
from jqueue.errors import DaemonUnreachable, ShuttingDown
from jqueue.jobs.status import CANCELED, CANCELING, FINALIZED, SUCCESS

from ..integration.stages import Stages

_FITTING = {
    "created": ("Pause", "SetSpeed"),
    "running": ("Pause", "SetSpeed"),
    "paused": ("Resume",),
    "ready": ("Complete", "Complete", "Leave", "Pause"),
    "standby": ("Resume", "Complete"),
    "pending": ("Finalize",),
}
"""By lifecycle state: what a client that has looked may ask for."""
_ANY = ("Complete", "Finalize", "Pause", "Resume", "SetSpeed", "Cancel", "Leave")
_SUBMISSIONS = 3
"""How many in one life of the daemon."""
_SPEEDS = (0, 2**20, 2**30)
_TAKES = (0.0, 0.0, 0.01, 0.03, 0.1)


@dataclass
class Wish:
    """A verb that was sent."""

    verb: str
    speed: int = 0
    answer: tuple[bool, str] | None = None
    """None if the daemon died before it came."""

    @property
    def refused(self) -> bool:
        """Whether it certainly has had no effect."""
        return self.answer is not None and not self.answer[0]


@dataclass
class Life:
    """One job, and what its client has asked of it, in order."""

    job_id: int
    ops: list[dict[str, Any]]
    fails: frozenset[str]
    wishes: list[Wish] = field(default_factory=list)

    def last(self, *verbs: str) -> list[Wish]:
        """The last of these verbs that was done, and those behind it of which nobody knows."""
        found = [wish for wish in self.wishes if wish.verb in verbs and not wish.refused]
        done = [place for place, wish in enumerate(found) if wish.answer is not None]
        return found[done[-1] :] if done else found

    def asked(self, *verbs: str) -> list[Wish]:
        """These verbs, as far as they may have had an effect."""
        return [wish for wish in self.wishes if wish.verb in verbs and not wish.refused]


@dataclass
class Submission:
    """Jobs that belong together, or one without a group."""

    name: str
    jobs: list[dict[str, Any]]
    options: dict[str, object]
    lives: list[Life] = field(default_factory=list)

    @property
    def deferred(self) -> bool:
        """Whether it keeps all its locks from its first opcode to its end."""
        return "group" in self.options or not self.jobs[0]["auto_finalize"]

    @property
    def ids(self) -> list[int]:
        """Its jobs; none if the submission was never answered."""
        return [life.job_id for life in self.lives]


class Client:
    """One client over all lives of the daemon."""

    def __init__(self, name: str, path: Path, notes: Path, chance: random.Random) -> None:
        self.submissions: list[Submission] = []
        self._name = name
        self._path = path
        self._notes = notes
        self._chance = chance

    def live(self) -> None:
        """Works until the daemon is gone."""
        try:
            with Connection(self._path, timeout=20) as connection:
                self.send_again(connection.call)
                enough = len(self.submissions) + _SUBMISSIONS
                while True:
                    if len(self.submissions) < enough and self._chance.random() < 0.4:
                        self._submit(connection.call)
                    elif self.submissions:
                        self._ask(connection.call)
        except (DaemonUnreachable, ShuttingDown):
            return

    def send_again(self, call: Callable[..., Any]) -> None:
        """Asks what became of the submission that was not answered; it is done now if it was not."""
        if self.submissions and not self.submissions[-1].lives:
            self._send(self.submissions[-1], call)

    def _submit(self, call: Callable[..., Any]) -> None:
        name = f"{self._name}-{len(self.submissions)}"
        count = self._chance.choice((1, 1, 2, 3))
        jobs = [self._job(name, place) for place in range(count)]
        options: dict[str, object] = {"request_id": name}
        if count > 1 or self._chance.random() < 0.3:
            options["group"] = name
        self.submissions.append(Submission(name, jobs, options))
        self._send(self.submissions[-1], call)

    def _send(self, submission: Submission, call: Callable[..., Any]) -> None:
        answer = call("SubmitManyJobs", submission.jobs, submission.options)
        for job, (done, job_id) in zip(submission.jobs, answer, strict=True):
            assert done is True, job_id
            fails = frozenset(method for op in job["ops"] for method in op["fails"])
            submission.lives.append(Life(job_id, job["ops"], fails))

    def _job(self, name: str, place: int) -> dict[str, Any]:
        ops = [self._op(place) for _ in range(self._chance.choice((1, 1, 2)))]
        ops[-1]["converges"] = self._chance.random() < 0.3
        return {
            "name": name,
            "ops": ops,
            "auto_finalize": self._chance.random() < 0.6,
            "auto_dismiss": self._chance.random() < 0.1,
        }

    def _op(self, place: int) -> dict[str, object]:
        """Makes an opcode; those of two jobs of a group, which run side by side, never want the same lock."""
        return {
            "OP_ID": self._chance.choice(("OP_STAGE", "OP_STAGE_AGAIN", "OP_STAGE_AGAIN")),
            "notes": str(self._notes),
            "takes": self._chance.choice(_TAKES),
            "fails": self._chance.choices(([], ["exec"], ["prepare"]), (18, 1, 1))[0],
            "retries": self._chance.choice((None, None, {"attempts": 2})),
            "locks": {"resource": {f"lock{place}{self._chance.randrange(6)}": "exclusive"}},
        }

    def _ask(self, call: Callable[..., Any]) -> None:
        life = self._chance.choice(self._chance.choice(self.submissions[-2 * _SUBMISSIONS :]).lives)
        [[lifecycle]] = call("QueryJobs", [life.job_id], ["lifecycle"], None)
        blind = self._chance.random() < 0.03
        verbs = _ANY if blind else _FITTING.get(lifecycle)
        if verbs is None or (lifecycle in ("created", "running") and not blind and self._chance.random() < 0.8):
            time.sleep(0.005)
            return
        wish = Wish(self._chance.choice(verbs), self._chance.choice(_SPEEDS))
        life.wishes.append(wish)
        if wish.verb == "Leave":
            done, text = call("CancelJob", life.job_id, False, True)
        elif wish.verb == "SetSpeed":
            done, text = call("SetJobSpeed", life.job_id, wish.speed)
        else:
            done, text = call(f"{wish.verb}Job", life.job_id)
        wish.answer = done, text
        if wish.verb == "Leave" and done and "keep what it has" not in text:
            wish.verb = "Cancel"  # of a job that was not ready


def check_alone(submissions: Sequence[Submission], stages: Stages) -> None:
    """No two that lock the same have worked, or were committed or undone, side by side."""
    notes = stages.all_notes()
    spans = sorted(span for each in submissions for span in _spans(each, notes))
    for (lock, _, end, who), (other, start, _, rival) in zip(spans, spans[1:], strict=False):
        assert lock != other or end < start, f"{who} and {rival} had {lock} together: {notes[start - 1 : end + 2]}"


def _spans(submission: Submission, notes: list[str]) -> Iterator[tuple[str, int, int, str]]:
    """Gives from which note to which somebody must have had a lock: lock, first, last, who."""
    ops = {f"{life.job_id}.{n}": op for life in submission.lives for n, op in enumerate(life.ops)}
    split = enumerate(line.split(" ", 1) for line in notes)
    places = [(place, who, what) for place, (who, what) in split if who in ops]
    if submission.deferred and places:
        for life, job in zip(submission.lives, submission.jobs, strict=True):
            own = [place for place, who, _ in places if who.partition(".")[0] == str(life.job_id)]
            # One that is dismissed at once, before the others have ended, is forgotten with its locks.
            last = max(own, default=0) if job["auto_dismiss"] else places[-1][0]
            for lock in {lock for op in life.ops for lock in op["locks"]["resource"]}:
                yield lock, places[0][0], last, submission.name
        return
    for who, op in ops.items():
        noted = [(place, what) for place, each, what in places if each == who]
        begins = [place for place, what in noted if what == "exec"]
        for begin in begins:
            following = next((place for place in begins if place > begin), len(notes))
            last = max(place for place, _ in noted if place < following)
            yield next(iter(op["locks"]["resource"])), begin, last, who


def check_unfinished(submission: Submission, rows: list[dict[str, Any]]) -> None:
    """What was answered is still so behind a crash."""
    for life, row in zip(submission.lives, rows, strict=True):
        assert row["name"] == submission.name, f"job {life.job_id} is lost or another: {row}"
        speeds = life.last("SetSpeed")
        if speeds and speeds[0].answer is not None:
            assert row["speed"] in {wish.speed for wish in speeds}, f"{life}: {row}"
        if row["status"] in (*FINALIZED, CANCELING) or row["phase"] == "aborting":
            continue  # that lifts a pause
        pauses = life.last("Pause", "Resume", "Cancel", "Leave")
        if len(pauses) == 1 and pauses[0].answer is not None:
            assert row["paused"] is (pauses[0].verb == "Pause"), f"{life}: {row}"


def check_end(submission: Submission, rows: list[dict[str, Any]], stages: Stages) -> None:
    """Each job has come to the end that was answered."""
    check_unfinished(submission, rows)
    lives = submission.lives
    for life, row in zip(lives, rows, strict=True):
        if any(wish.answer is not None for wish in life.asked("Cancel")):
            assert row["status"] == CANCELED, f"{life}: {row}"
        if any(wish.answer is not None for wish in life.asked("Complete")) and not life.asked("Leave"):
            noted = [what for op in range(len(life.ops)) for what in stages.noted(life.job_id, op)]
            assert "told leave" not in noted, f"{life}: {row}, {noted}"
        if not life.asked("Cancel", "Leave") and len(lives) == 1 and row["status"] == CANCELED:
            raise AssertionError(f"nobody has canceled {life}: {row}")
    finalized = any(wish.answer is not None for life in lives for wish in life.asked("Finalize"))
    disturbed = any(life.asked("Cancel", "Leave") or life.fails for life in lives)
    if finalized and not disturbed:
        assert {row["status"] for row in rows} == {SUCCESS}, f"{submission}: {rows}"
