"""Our job for each of QEMU's: one whose every state lasts as long as the recording needs it.

A job that leaves `running` by itself at once does so here too. Any other is *held*: a speed limit makes it sit still
after its work, and the player lets it go where the recording shows that the job went on.
One that did not notice a command because of an I/O under way is *busy* with that work, and looks at nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import story
from .recording import CANCELING, CREATING, PAUSING, TRANSACTION, Exchange, Job, Recording

OPCODE = "OP_TEST_LIFECYCLE"
BUSY = 2.0
"""Seconds that a piece of work takes that looks at nothing: commands have to be answered in that time."""
_PIECE = 4 << 30
"""Bytes; at any speed in the recordings they take longer to pay for than a test runs."""
SLOW = 65536
_REFUSED: Mapping[str, Any] = {"ops": [{"OP_ID": "OP_THAT_IS_NOT_THERE"}]}

_LEAVING = ("ready", "waiting", "aborting")


@dataclass(frozen=True)
class Course:
    """How one of QEMU's jobs went."""

    converges: bool
    fails: Sequence[str]
    """What of it failed: exec or prepare."""
    leaves: int
    """The row at which it left `running` by itself."""
    held: bool
    busy: bool


def course(recording: Recording, job: Job) -> Course:
    """Reads from the recording how a job went."""
    heard = job.story()
    names = [each.event.name for each in heard]
    fails = _failure(recording, job)
    canceled = "aborting" in names and fails is None
    leaves = story.NEVER
    for each in heard:
        if each.event.name in _LEAVING:
            if each.event.name != "aborting" or not canceled:
                leaves = each.when
            break
    if leaves > recording.quit:
        leaves = story.NEVER  # Difference.LAST_IO
    began = next((each.when for each in heard if each.event.name == "running"), story.NEVER)
    return Course(
        # One that fails does so at its end: not before it is ready if it ever is.
        converges="ready" in names or (job.kind == "mirror" and fails is None),
        fails=[] if fails is None else [fails],
        leaves=leaves,
        held=_something_between(recording, job, began, leaves),
        busy=any(_unnoticed(recording, job, each) for each in recording.exchanges),
    )


def _failure(recording: Recording, job: Job) -> str | None:
    """Says what of a job failed by itself: exec, prepare or nothing."""
    heard = job.story()
    names = [each.event.name for each in heard]
    if "aborting" not in names:
        return None
    aborted = heard[names.index("aborting")].when
    if recording.crashed and aborted > recording.end:
        pass  # what it was doing then has failed
    elif job.is_block_job:
        error = next((each.event.error for each in heard if each.event.name == "BLOCK_JOB_COMPLETED"), None)
        if error is None:
            return None
    elif aborted > recording.end or any(row < aborted for row in job.cancels):
        return None
    return "prepare" if "pending" in names[: names.index("aborting")] else "exec"


def _something_between(recording: Recording, job: Job, began: int, left: int) -> bool:
    """Whether anything happens to be seen while a job runs: a command, or an event of another job."""
    if any(began < each.row.number < left for each in recording.exchanges if not is_set_up(each)):
        return True
    others = (heard for each in recording.jobs if each is not job for heard in each.story())
    return any(began < each.when < left and each.event.name not in ("created", "running") for each in others)


def _unnoticed(recording: Recording, job: Job, exchange: Exchange) -> bool:
    """Whether a command to stop a job had no effect before the next command came."""
    if exchange.target is not job or not exchange.accepted:
        return False
    if exchange.command not in (*PAUSING, *CANCELING):
        return False
    sent = exchange.row.number
    later = [each.row.number for each in recording.exchanges if each.row.number > sent and not is_set_up(each)]
    effects = [each.when for each in job.story() if each.when >= sent]
    return bool(later) and later[0] < (effects[0] if effects else story.NEVER)


def is_set_up(exchange: Exchange) -> bool:
    """Whether a command only sets up devices or looks at them, see `Difference.DEVICES`."""
    command = exchange.command
    if command in CREATING or command == TRANSACTION or command.startswith("block-job-"):
        return False
    prefixes = ("block", "x-block", "device", "object-", "nbd-", "chardev-", "qom-", "human-monitor-", "query-named-")
    unknown = any("CommandNotFound" == each.message.get("error", {}).get("class") for each in exchange.replies)
    return command.startswith(prefixes) and not unknown


# Submissions


def submission(recording: Recording, exchange: Exchange, notes: Path) -> tuple[str, dict[str, Any]]:
    """Makes our command for one of QEMU's that makes jobs.

    @param notes: a file in which a job that is going to be busy notes that it has begun
    @return: the command and its arguments
    """
    jobs = [_description(recording, job, notes) for job in exchange.makes]
    if exchange.command != TRANSACTION:
        job = jobs[0]
        return "__org.jqueue_submit", {name.replace("_", "-"): value for name, value in job.items()}
    if not exchange.accepted:
        jobs.append(dict(_REFUSED))
    grouped = exchange.arguments.get("properties", {}).get("completion-mode") == "grouped"
    return "__org.jqueue_submit-many", {"jobs": jobs, **({"group": True} if grouped else {})}


def _description(recording: Recording, job: Job, notes: Path) -> dict[str, Any]:
    """Describes our job; the defaults of its flags are QEMU's."""
    return {
        "ops": [operation(course(recording, job), job, notes)],
        "auto_finalize": job.arguments.get("auto-finalize", True),
        "auto_dismiss": job.arguments.get("auto-dismiss", job.is_block_job),
    }


def operation(course: Course, job: Job, notes: Path) -> dict[str, Any]:
    """Makes the opcode that goes through the states of one of QEMU's jobs."""
    made: dict[str, Any] = {"OP_ID": OPCODE, "chunk_size": 1, "speed": job.arguments.get("speed", 0)}
    if course.held:
        made.update(chunk_size=_PIECE, pay_last=True, speed=made["speed"] or SLOW)
    if course.converges:
        made["converges"] = True
    if course.fails:
        made["fails"] = list(course.fails)
    if course.busy:
        made.update(busy=BUSY, notes=str(notes))
    return made
