"""Finished and archived jobs and their logs, read back in the reader thread, and moving them to the archive.

What is asked of them lives in `jqueue.sched.queries`, when they are archived in `jqueue.sched.verbs`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jqueue.errors import StateError
from jqueue.events.joblog import Entry
from jqueue.jobs.job import Queue, _QueuedJob
from jqueue.store.archive import archive_jobs, forget_job, iter_archived, load_job
from jqueue.store.files import Files
from jqueue.store.jobfiles import JobFiles, Source
from jqueue.store.logfiles import LogFiles, encode_line
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread, InlineThread

T = TypeVar("T")


class History:
    """The files of jobs beside what is in memory."""

    _log = Logger()

    def __init__(
        self,
        state: StateDirectory,
        files: Files,
        *,
        reader: FileThread | InlineThread,
        writer: FileThread | InlineThread,
        job_files: JobFiles,
        log_files: LogFiles,
    ) -> None:
        """Makes it.

        @param reader: the thread that reads
        @param writer: the thread that all changes of job and log files go through
        """
        self._state = state
        self._files = files
        self._reader = reader
        self._writer = writer
        self._job_files = job_files
        self._log_files = log_files

    def load(self, job_ids: Iterable[int], queue: Queue | None = None) -> Deferred[dict[int, _QueuedJob]]:
        """Loads jobs, live or archived; those that are nowhere, or cannot be read, are missing from the answer."""
        return self._reader.call(self._load, list(job_ids), queue)

    def _load(self, job_ids: list[int], queue: Queue | None) -> dict[int, _QueuedJob]:
        found = {}
        for job_id in job_ids:
            try:
                loaded = load_job(self._state, job_id)
                if loaded is not None:
                    found[job_id] = _QueuedJob.Restore(queue, loaded[0], writable=False, archived=loaded[1])
            except (StateError, KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
                self._log.error("The file of job {job_id} cannot be read: {problem}", job_id=job_id, problem=problem)
        return found

    def look_up(self, function: Callable[[], T]) -> Deferred[T]:
        """Runs a function that asks the file system, in the reader thread."""
        return self._reader.call(function)

    def archived_ids(self) -> Deferred[list[int]]:
        """The ids of all archived jobs, ascending."""
        return self._reader.call(lambda: list(iter_archived(self._state)))

    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        """At most `limit` log entries of a job, oldest first."""
        return self._reader.call(self._log_files.read, job_id, newer_than, limit)

    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]:
        """The last log entries of a job, oldest first."""
        return self._reader.call(self._log_files.tail, job_id, count)

    def write_log(self, entries: dict[int, list[Entry]]) -> Deferred[None]:
        """Appends entries to the logs of their jobs."""
        return self._writer.call(self._append, entries)

    def _append(self, entries: dict[int, list[Entry]]) -> None:
        for job_id, rows in entries.items():
            try:
                self._log_files.append(job_id, [encode_line(*row) for row in rows])
            except (OSError, TypeError, ValueError) as problem:
                self._log.error("The log of job {job_id} lost lines: {problem}", job_id=job_id, problem=problem)

    def repair_log(self, job_id: int) -> Deferred[int]:
        """Cuts a torn line off a job's log.

        @return: the last serial in it
        """
        return self._writer.call(self._log_files.repair, job_id)

    def archive(self, jobs: Iterable[tuple[int, Source | None]]) -> Deferred[None]:
        """Moves the files of final jobs into the archive.

        @param jobs: each with its last state, which is written first, or None if its file is known to be up to date
        """
        chosen = list(jobs)
        flushed = self._job_files.write_now([(job_id, source) for job_id, source in chosen if source is not None])
        return flushed.addCallback(lambda _: self._writer.call(self._archive, [job_id for job_id, _ in chosen]))

    def _archive(self, job_ids: list[int]) -> None:
        for job_id in job_ids:
            self._log_files.close(job_id)
        for job_id, problem in archive_jobs(self._state, self._files, job_ids).items():
            self._log.error("Job {job_id} has no file in the archive: {problem}", job_id=job_id, problem=problem)

    def forget(self, job_id: int) -> Deferred[None]:
        """Removes what is left of a job whose file an administrator took away."""
        self._job_files.forget(job_id)
        return self._writer.call(self._forget, job_id)

    def _forget(self, job_id: int) -> None:
        self._log_files.close(job_id)
        forget_job(self._state, self._files, job_id)

    def remove_run_directory(self, job_id: int, op_index: int, attempt: int) -> Deferred[None]:
        """Removes what a command left behind that has ended; its output is in the job's log."""
        directory = self._state.run_directory(job_id, op_index, attempt)
        return self._writer.call(shutil.rmtree, directory, True)
