"""Tests of `jqueue.store.jobwriter`: the real process, in a directory of its own."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.packing import pack
from jqueue.store.files import Files
from jqueue.store.jobwriter import JobWriter
from jqueue.store.statedir import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare(Files())
    return made


@pytest.fixture
def writer(state: StateDirectory) -> Iterator[JobWriter]:
    made = JobWriter(state, Files(), many=2)
    yield made
    made.close()


def job(job_id: int) -> _QueuedJob:
    return _QueuedJob(None, job_id, [{"OP_ID": "OP_TEST_DUMMY"}])


def child(writer: JobWriter) -> int:
    process = writer._process
    assert process is not None
    return process.pid


def test_a_small_batch_needs_no_process(state: StateDirectory, writer: JobWriter) -> None:
    assert writer.write([(1, job(1))]).settled == 1
    assert writer._process is None
    assert json.loads(state.job_file(1).read_bytes())["id"] == 1


def test_a_large_batch_is_written_by_the_process_whatever_form_the_jobs_have(
    state: StateDirectory, writer: JobWriter
) -> None:
    outcome = writer.write([(1, job(1)), (2, pack(job(2))), (3, lambda: job(3))])
    assert (outcome.settled, outcome.failed) == (3, {})
    assert child(writer) != os.getpid()
    assert [json.loads(state.job_file(number).read_bytes())["id"] for number in (1, 2, 3)] == [1, 2, 3]


def test_what_cannot_be_written_is_told(state: StateDirectory, writer: JobWriter) -> None:
    state.job_file(1).mkdir()
    outcome = writer.write([(1, job(1)), (2, job(2))])
    assert outcome.settled == 2
    (error,) = outcome.failed.values()
    assert isinstance(error, OSError)
    assert error.errno == errno.EISDIR
    assert state.job_file(2).exists()


def test_a_process_that_was_killed_costs_no_file(state: StateDirectory, writer: JobWriter) -> None:
    writer.write([(1, job(1)), (2, job(2))])
    killed = child(writer)
    os.kill(killed, signal.SIGKILL)
    assert writer.write([(3, job(3)), (4, job(4))]).settled == 2
    assert state.job_file(4).exists()
    writer.write([(5, job(5)), (6, job(6))])
    assert child(writer) != killed
    assert state.job_file(6).exists()


def test_the_process_ends_with_its_writer(writer: JobWriter) -> None:
    writer.write([(1, job(1)), (2, job(2))])
    pid = child(writer)
    writer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
