"""Finished and archived jobs and their logs, read back in the reader thread, and moving them to the archive.

What is asked of them lives in `jqueue.sched.queries`, when they are archived in `jqueue.sched.archiving`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable
from heapq import merge
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jqueue.errors import DiskFull, JobQueueError, StateError, from_disk
from jqueue.events.joblog import Entry
from jqueue.jobs.job import Queue, _QueuedJob
from jqueue.store.archive import archive_jobs, forget_job, is_archived, iter_archived, load_job
from jqueue.store.files import Files
from jqueue.store.interface import Loaded
from jqueue.store.jobfile import Source, resolve
from jqueue.store.jobfiles import JobFiles
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
        self._leaving: dict[int, Source | None] = {}
        self._not_moved: set[int] = set()

    def load(self, job_ids: Iterable[int], queue: Queue | None = None) -> Deferred[Loaded]:
        """Loads jobs, live, archived, or on their way into the archive, as they are, also if their file is behind."""
        wanted = list(job_ids)
        leaving = {job_id: self._leaving[job_id] for job_id in wanted if job_id in self._leaving}
        newer = {job_id: source for job_id in wanted if (source := self._job_files.newest(job_id)) is not None}
        return self._reader.call(self._load, wanted, leaving, newer, queue)

    def _load(
        self, job_ids: list[int], leaving: dict[int, Source | None], newer: dict[int, Source], queue: Queue | None
    ) -> Loaded:
        found: Loaded = {}
        for job_id in job_ids:
            try:
                loaded = self._load_state(job_id, leaving, newer)
                if loaded is not None:
                    found[job_id] = _QueuedJob.Restore(queue, loaded[0], writable=False, archived=loaded[1])
            except StateError as problem:
                found[job_id] = problem
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
                text = f"the file of job {job_id} is damaged ({problem}); restore it from a backup or remove it"
                found[job_id] = StateError(text)
            if isinstance(unreadable := found.get(job_id), StateError):
                self._log.error("Job {job_id} cannot be read: {problem}", job_id=job_id, problem=unreadable)
        return found

    def _load_state(
        self, job_id: int, leaving: dict[int, Source | None], newer: dict[int, Source]
    ) -> tuple[dict[str, Any], bool] | None:
        source = leaving.get(job_id) or newer.get(job_id)
        if source is not None:
            return resolve(job_id, source).Serialize(), job_id in leaving
        loaded = load_job(self._state, job_id)
        return None if loaded is None else (loaded[0], loaded[1] or job_id in leaving)

    def look_up(self, function: Callable[[], T]) -> Deferred[T]:
        """Runs a function that asks the file system, in the reader thread."""
        return self._reader.call(function)

    def archived_ids(self) -> Deferred[list[int]]:
        """The ids of all archived jobs, ascending.

        @return: fails with `StateError` if the archive cannot be read
        """
        leaving = sorted(self._leaving)
        return self._reader.call(self._archived_ids, leaving)

    def _archived_ids(self, leaving: list[int]) -> list[int]:
        try:
            return list(dict.fromkeys(merge(iter_archived(self._state), leaving)))
        except OSError as problem:
            raise from_disk(problem, f"{self._state.archive} cannot be read") from problem

    def log(self, job_id: int, newer_than: int, limit: int) -> Deferred[list[Entry]]:
        """At most `limit` log entries of a job, oldest first.

        @return: fails with `StateError` if the log cannot be read
        """
        return self._reader.call(self._read_log, self._log_files.read, job_id, newer_than, limit)

    def log_tail(self, job_id: int, count: int) -> Deferred[list[Entry]]:
        """The last log entries of a job, oldest first; fails as `log`."""
        return self._reader.call(self._read_log, self._log_files.tail, job_id, count)

    def _read_log(self, read: Callable[..., list[Entry]], job_id: int, *limits: int) -> list[Entry]:
        try:
            return read(job_id, *limits)
        except OSError as problem:
            raise from_disk(problem, f"the log of job {job_id} cannot be read") from problem

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
        """Moves the files of final jobs into the archive; until that is done, `load` knows them as archived.

        @param jobs: each with its last state, which is written first, or None if its file is known to be up to date
        @return: fires when it was done or tried; what could not be moved is `not_moved`
        """
        chosen = dict(jobs)
        self._leaving.update(chosen)
        return Deferred.fromCoroutine(self._move(list(chosen)))

    @property
    def not_moved(self) -> Collection[int]:
        """Archived jobs whose files could not be moved into the archive."""
        return self._not_moved

    def retry(self) -> Deferred[None]:
        """Tries again to move what could not be moved into the archive."""
        return Deferred.fromCoroutine(self._move(list(self._not_moved), again=True))

    def is_archived(self, job_id: int) -> Deferred[bool | None]:
        """Looks where the file of a job is, behind all writes and moves that were asked for.

        @return: whether it is in the archive; None if it is nowhere; fails with `OSError` if that cannot be told
        """
        return self._writer.call(is_archived, self._state, self._files, job_id)

    def flush(self) -> Deferred[None]:
        """Writes all job files, carries out all archive moves, and syncs them.

        @return: fails with `JobQueueError` when that was not possible for a final job: only the journal has it then;
            with `OSError` when the disk failed
        """
        return Deferred.fromCoroutine(self._flush())

    async def _flush(self) -> None:
        await self._job_files.flush()
        await self.retry()
        try:
            await self._job_files.sync()
        except OSError as problem:
            error = from_disk(problem, "the job files cannot be synced")
            raise (error if isinstance(error, DiskFull) else problem) from problem
        behind = {*self._job_files.final_failed(), *self._not_moved}
        if behind:
            raise JobQueueError(
                f"the files of {len(behind)} finished jobs cannot be written or moved, job {min(behind)} is the first"
            )

    async def _move(self, job_ids: list[int], *, again: bool = False) -> None:
        if not job_ids:
            return
        sources = ((job_id, self._leaving[job_id]) for job_id in job_ids)
        await self._job_files.write_now([(job_id, source) for job_id, source in sources if source is not None])
        # A file that is behind must not be moved: the newer one would be written where the job is not any more.
        failed = self._job_files.unwritten(job_ids)
        written = [job_id for job_id in job_ids if job_id not in failed]
        failed |= await self._writer.call(self._archive, written, again)
        self._not_moved.difference_update(job_ids)
        self._not_moved |= failed
        for job_id in job_ids:
            if job_id not in failed:
                self._leaving.pop(job_id, None)

    def _archive(self, job_ids: list[int], said: bool) -> set[int]:
        for job_id in job_ids:
            self._log_files.close(job_id)
        missing = archive_jobs(self._state, self._files, job_ids)
        for job_id, problem in () if said else missing.items():
            self._log.error("Job {job_id} has no file in the archive: {problem}", job_id=job_id, problem=problem)
        return {job_id for job_id, problem in missing.items() if problem is not None}

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
