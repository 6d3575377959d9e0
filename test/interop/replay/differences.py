"""Where the daemon may differ from QEMU, and why. Whatever is not in this table has to be the same."""

from __future__ import annotations

from enum import Enum


class Difference(Enum):
    """What is allowed for; each value is the reason."""

    # Commands that are not given

    DEVICES = "There are no block devices here: what sets them up is left out, and what is refused because of them."
    NO_JOBS = "A transaction that makes no job has no counterpart: there is nothing to submit."
    OWN_IDS = "The queue gives the ids: none can be invalid or taken, so asking for such a one is left out."
    CREATION_ARGUMENTS = "Arguments of QEMU's creating commands are checked by QEMU's schema; ours has other ones."
    CREATE_IS_NO_BLOCK_JOB = (
        "QEMU's create jobs are no block jobs, every job is one here: block-job-* is not given to them, their "
        "BLOCK_JOB_* events and their rows in query-block-jobs are left out."
    )

    # Answers

    COMMANDS = (
        "A command that has nothing to do with jobs is not there, nor is block-job-change, which no type of our jobs "
        "would support: it is answered CommandNotFound."
    )
    REFUSED_SUBMISSION = (
        "A submission that is refused leaves nothing behind: there is an error, in our words, but no job that is "
        "seen to be created and to vanish."
    )
    VERSION = "query-version and the greeting name jqueue; nothing is done out of band, so `oob` is not offered."
    COMMAND_LIST = "query-commands lists our commands; QEMU's commands for jobs have to be among them."

    # Members of answers and events

    PROGRESS = "len, offset, current-progress and total-progress count in units of the opcodes."
    SPEED = "`speed` is compared only after it was set: a job is held and let go by its speed to show each state."
    TYPE = "`type` comes from the first opcode; only that of a mirror is QEMU's word."
    IO_STATUS = "There are no I/O errors to stop at: `io-status` is always ok."
    BUSY = "`busy` tells that code has a worker; QEMU's job gives its thread back while it rests for its speed limit."
    PAUSE_COUNT = (
        "`paused` counts QEMU's own pauses as well, a mirror has one while it is pending, and one that the user asked "
        "for too late stays for ever; here it tells whether the user holds a job that works."
    )
    ERROR_TEXT = "The text of a failure is the opcode's; only that of a cancelled job is compared."

    # Events

    FLICKER = "QEMU pauses jobs for a moment when it starts one or ends: paused and running that nobody asked for."
    IO_ERRORS = (
        "BLOCK_JOB_ERROR has no counterpart, an opcode deals with its errors; where QEMU pauses a job at one, "
        "the player does."
    )
    STORAGE_DAEMON = "qemu-storage-daemon sends no SHUTDOWN; there is one kind of daemon here."

    # The end

    SIGNAL = "SIGTERM keeps the jobs for the next start; QEMU cancels them."
    LAST_IO = "A job that quit finds in its last I/O may complete in QEMU; here it is cancelled as any other."
    CRASH = "QEMU dies in this case; here the command is answered, what failed fails, and the daemon lives on."
    ONE_CLIENT = "A second client on QEMU's socket waits to be greeted until the first has left; here it need not."
