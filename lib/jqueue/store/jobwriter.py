"""A process that writes job files when they are many.

Each of the four calls that write a small file gives up the interpreter and has to win it back from a busy reactor; for
thousands of files a second this costs the reactor more than all of its own work. The process has an interpreter of its
own. It is started when a batch is large, gets packed jobs, and ends with the daemon, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgpack

from jqueue.jobs.packing import pack
from jqueue.store.files import Files
from jqueue.store.jobfile import Outcome, Source, resolve, write_batch
from jqueue.store.statedir import StateDirectory

MANY = 32
"""Files in a batch from which on the process is worth its start."""

_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1


class JobWriter:
    """Writes batches of job files: small ones itself, large ones by the process. Belongs to the file thread."""

    def __init__(self, state: StateDirectory, files: Files, many: int = MANY) -> None:
        """Makes it; there is no process yet.

        @param many: files in a batch from which on the process is used
        """
        self._state = state
        self._files = files
        self._many = many
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, batch: Sequence[tuple[int, Source]]) -> Outcome:
        """Writes the files of jobs, in order."""
        if len(batch) < self._many:
            return write_batch(self._state, self._files, batch)
        try:
            return self._ask([(job_id, _packed(job_id, source)) for job_id, source in batch])
        except (OSError, EOFError):
            # Somebody has ended it, or it cannot be started; the next large batch tries again.
            self.close()
            return write_batch(self._state, self._files, batch)

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, packed: Sequence[tuple[int, bytes]]) -> Outcome:
        if self._process is None:
            self._process = _start(self._state.path)
        if self._process.stdin is None or self._process.stdout is None:
            raise EOFError
        _send(self._process.stdin, packed)
        settled, failed = _receive(self._process.stdout)
        return Outcome({job_id: OSError(number, text) for job_id, number, text in failed}, settled)


def _packed(job_id: int, source: Source) -> bytes:
    return source if isinstance(source, bytes) else pack(resolve(job_id, source))


def _start(state: Path) -> subprocess.Popen[bytes]:
    # Away from the daemon's terminal, whose Ctrl-C is for the daemon alone.
    return subprocess.Popen(
        [sys.executable, "-m", __name__, os.fspath(state), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.defpath},
    )


def _send(stream: IO[bytes], message: object) -> None:
    data = msgpack.packb(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """@raise EOFError: the other side is gone"""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    data = stream.read(*_LENGTH.unpack(head))
    return msgpack.unpackb(data, use_list=False)


def main(state: Path, parent: int) -> None:
    """The process: writes what it is sent until there is nobody left to send anything.

    @param parent: process id of the daemon
    """
    # A file written after the daemon's death could replace a newer one of the next daemon.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    directory, files = StateDirectory(state), Files()
    while os.getppid() == parent:
        try:
            batch = _receive(sys.stdin.buffer)
        except EOFError:
            return
        outcome = write_batch(directory, files, batch)
        failed = [(job_id, getattr(error, "errno", None) or 0, str(error)) for job_id, error in outcome.failed.items()]
        _send(sys.stdout.buffer, (outcome.settled, failed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
