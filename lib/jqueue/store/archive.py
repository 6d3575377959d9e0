"""Where a job's two files are, live or in the archive, and moving them from one to the other.

That a job is archived is decided, and made durable in the journal, before anything here is called; each function
finishes a move that a crash left half done. Nothing is synced: the journal's record stands for it until a checkpoint.
What is in the files does not live here, but for reading a job's state back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from jqueue.errors import StateError
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory


def job_id_of(name: str) -> int | None:
    """@return: the job whose state a file of this name holds; None for any other name"""
    if not name.startswith("job-") or not (digits := name[4:]).isdecimal() or not digits.isascii():
        return None
    return int(digits)


def archived_job_file(state: StateDirectory, job_id: int) -> Path:
    """@return: where a job's state is once it is archived"""
    return state.archive_directory(job_id) / state.job_file(job_id).name


def archived_log_file(state: StateDirectory, job_id: int) -> Path:
    """@return: where a job's log is once it is archived"""
    return state.archive_directory(job_id) / state.log_file(job_id).name


def archive_job(state: StateDirectory, files: Files, job_id: int) -> bool:
    """Moves a job's files into the archive, as far as they are not there yet; in the file thread.

    @return: False if the job has no state file, neither live nor archived
    @raise OSError: a file could not be moved; calling it again goes on from there
    """
    with suppress(FileExistsError):
        files.mkdir(state.archive_directory(job_id))
    # The log first: who finds the state file in the archive finds the log there too.
    with suppress(FileNotFoundError):
        files.rename(state.log_file(job_id), archived_log_file(state, job_id))
    try:
        files.rename(state.job_file(job_id), archived_job_file(state, job_id))
    except FileNotFoundError:
        return archived_job_file(state, job_id).exists()
    return True


def archive_jobs(state: StateDirectory, files: Files, job_ids: Iterable[int]) -> dict[int, OSError | None]:
    """Moves the files of several jobs; in the file thread.

    @return: the jobs that are not in the archive now, with the reason; None for one that has no state file
    """
    missing: dict[int, OSError | None] = {}
    for job_id in job_ids:
        try:
            if not archive_job(state, files, job_id):
                missing[job_id] = None
        except OSError as error:
            missing[job_id] = error
    return missing


def is_archived(state: StateDirectory, files: Files, job_id: int) -> bool | None:
    """Looks where a job's state file is; in the file thread, so that nothing moves meanwhile.

    @return: whether it is in the archive; None if it is nowhere
    @raise OSError: that cannot be told
    """
    for path, archived in ((state.job_file(job_id), False), (archived_job_file(state, job_id), True)):
        with suppress(FileNotFoundError):
            files.stat(path)
            return archived
    return None


def forget_job(state: StateDirectory, files: Files, job_id: int) -> None:
    """Removes a job's live files; in the file thread. The state file last, so that a log is never left alone.

    @raise OSError: a file could not be removed; calling it again goes on from there
    """
    for path in (state.log_file(job_id), state.job_file(job_id)):
        with suppress(FileNotFoundError):
            files.unlink(path)


def iter_archived(state: StateDirectory, *, newest_first: bool = False) -> Iterator[int]:
    """Walks the archive one directory (10,000 jobs) at a time, looking at names only.

    @param newest_first: descending instead of ascending ids
    """
    try:
        buckets = [int(name) for name in os.listdir(state.archive) if name.isascii() and name.isdecimal()]
    except FileNotFoundError:
        return
    for bucket in sorted(set(buckets), reverse=newest_first):
        try:
            names = os.listdir(state.archive / str(bucket))
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from sorted((found for name in names if (found := job_id_of(name)) is not None), reverse=newest_first)


def open_file(live: Path, archived: Path) -> tuple[int, bool] | None:
    """Opens a job's file for reading wherever it is: live, archived, or live again if an archiving came between.

    @return: (descriptor, whether it is the archived one), None if there is no such file
    """
    for path in (live, archived, live):
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), path is archived
    return None


def load_job(state: StateDirectory, job_id: int) -> tuple[dict[str, Any], bool] | None:
    """Reads a job's state back; in any thread.

    @return: (the state as `_QueuedJob.Restore` takes it, whether the job is archived), None if it has no file
    @raise StateError: the file cannot be read, or does not hold a job
    """
    live, archived = state.job_file(job_id), archived_job_file(state, job_id)
    try:
        opened = open_file(live, archived)
        if opened is None:
            return None
        with os.fdopen(opened[0], "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise StateError(f"the file of job {job_id} cannot be read ({error}); check the disk") from error
    return parse_state(data, archived if opened[1] else live), opened[1]


def parse_state(data: bytes, path: Path | str) -> dict[str, Any]:
    """Takes the content of a job file apart.

    @param path: where it is from, for the error
    @raise StateError: it does not hold a job
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path} is damaged, no JSON ({error}); restore it from a backup or remove it") from error
    if not isinstance(value, dict) or not isinstance(value.get("ops"), list):
        raise StateError(f"{path} is damaged, no job (a map with a list `ops`); restore it from a backup or remove it")
    for index, op in enumerate(value["ops"]):
        if not isinstance(op, dict) or not isinstance(op.get("input"), dict):
            raise StateError(f"{path} is damaged, ops[{index}] has no `input`; restore it from a backup or remove it")
    return value
