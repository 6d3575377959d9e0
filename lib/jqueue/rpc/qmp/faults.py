"""The one error of QMP, and the texts that QEMU's clients compare.

The texts that depend on the state of a job are the queue's.
"""

from __future__ import annotations

from jqueue.errors import GenericError

GENERIC = "GenericError"
COMMAND_NOT_FOUND = "CommandNotFound"
DEVICE_NOT_ACTIVE = "DeviceNotActive"


class QmpError(GenericError):
    """The message is not valid QMP; correct it and send it again."""

    def __init__(self, text: str, error_class: str = GENERIC) -> None:
        """Makes the error.

        @param error_class: the one thing of it that a program may look at, one of the constants above
        """
        super().__init__(text)
        self.error_class = error_class


def wrong_type(path: str, expected: str) -> QmpError:
    """Makes the error for an argument of the wrong type.

    @param path: which argument, as in `jobs[0]`
    @param expected: QEMU's word for the type
    """
    return QmpError(f"Invalid parameter type for '{path}', expected: {expected}")


def job_not_found() -> QmpError:
    """Makes the error of the commands that begin with `job-`."""
    return QmpError("Job not found")


def block_job_not_found(device: str) -> QmpError:
    """Makes the error of the commands that begin with `block-job-`."""
    return QmpError(f"Block job '{device}' not found", DEVICE_NOT_ACTIVE)
