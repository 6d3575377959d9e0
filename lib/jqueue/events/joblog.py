"""The log of the jobs: serials, the last entries in memory, and telling those who follow.

The file is the log (`jqueue.store.logfiles`); an entry is told once it is in the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

Entry = list[Any]
"""`[op index, serial, [seconds, microseconds], type, message]`, as in the log file."""


class JobLogs:
    """Numbers log entries, has them written, then remembers and tells them."""

    _log = Logger()

    def __init__(
        self,
        write: Callable[[dict[int, list[Entry]]], Deferred[None]],
        *,
        memory: int,
        written: Callable[[int, Sequence[Entry]], None],
    ) -> None:
        """Makes it.

        @param write: appends entries to the files of their jobs, off the reactor thread, in the order of its calls
        @param memory: entries of a job kept in memory
        @param written: told the job and the entries once they are in the file
        """
        self._write_entries = write
        self._memory = memory
        self._tell = written
        self._serials: dict[int, int] = {}
        self._tails: dict[int, deque[Entry]] = {}
        self._unwritten: dict[int, list[Entry]] = {}
        self._waiting: list[Deferred[None]] = []
        self._writing = False

    def start(self, job_id: int, serial: int) -> None:
        """Says which serial a job used last; later calls only ever raise it."""
        self._serials[job_id] = max(serial, self._serials.get(job_id, 0))

    def serial(self, job_id: int) -> int:
        """The serial that a job used last."""
        return self._serials.get(job_id, 0)

    def written(self, job_id: int) -> int:
        """The serial of the last entry of a job that is in the file; 0 if memory has none of them."""
        tail = self._tails.get(job_id)
        serial: int = tail[-1][1] if tail else 0
        return serial

    def add(self, job_id: int, op_index: int, lines: Sequence[tuple[float, str, Any]]) -> Deferred[None]:
        """Adds entries.

        @param lines: (wall time in seconds, type, message) each
        @return: fires when they are in the file
        """
        serial = self._serials.get(job_id, 0)
        entries = self._unwritten.setdefault(job_id, [])
        for when, kind, message in lines:
            serial += 1
            microseconds = round(when * 1_000_000)
            entries.append([op_index, serial, list(divmod(microseconds, 1_000_000)), kind, message])
        self._serials[job_id] = serial
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if not self._writing:
            self._write()
        return done

    def recent(self, job_id: int, newer_than: int | None) -> list[Entry] | None:
        """Gives the entries of a job that are newer than a serial.

        @return: oldest first; None if memory does not have all of them, and the file has to be read
        """
        seen = newer_than or 0
        if job_id in self._serials and self._serials[job_id] <= seen:
            return []
        tail = self._tails.get(job_id)
        if not tail or tail[0][1] > seen + 1:
            return None
        return [entry for entry in tail if entry[1] > seen]

    def forget(self, job_id: int) -> None:
        """Drops what is in memory of a job that has ended; what is not written yet still will be, and told."""
        self._tails.pop(job_id, None)
        self._serials.pop(job_id, None)

    def _write(self) -> None:
        batch, self._unwritten = self._unwritten, {}
        waiting, self._waiting = self._waiting, []
        self._writing = True

        def finish(result: object) -> None:
            if isinstance(result, Failure):
                self._log.failure("Log lines of jobs {jobs} could not be written", result, jobs=sorted(batch))
            for job_id, entries in batch.items():
                if job_id in self._serials:
                    self._tails.setdefault(job_id, deque(maxlen=self._memory)).extend(entries)
                self._tell(job_id, entries)
            for done in waiting:
                done.callback(None)
            self._writing = False
            if self._unwritten:
                self._write()

        self._write_entries(batch).addBoth(finish)
