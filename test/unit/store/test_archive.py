"""Moving job files into the archive, walking it, and reading a job back from wherever it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jqueue.errors import StateError
from jqueue.store.archive import (
    archive_job,
    archive_jobs,
    archived_job_file,
    archived_log_file,
    forget_job,
    is_archived,
    iter_archived,
    job_id_of,
    load_job,
)
from jqueue.store.files import Files
from jqueue.store.statedir import StateDirectory

ID = 20_005


class StoppingFiles(Files):
    """A disk that fails at one of its renames."""

    def __init__(self, fail_at: int) -> None:
        self.left = fail_at

    def rename(self, source: Path, target: Path) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        super().rename(source, target)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare(Files())
    return directory


def write(state: StateDirectory, job_id: int, text: str = '{"id": 1, "ops": []}\n') -> None:
    state.job_file(job_id).write_text(text)
    state.log_file(job_id).write_text("a line\n")


def test_both_files_move_into_a_directory_of_ten_thousand(state: StateDirectory) -> None:
    write(state, ID)
    assert archive_job(state, Files(), ID)
    assert sorted(path.name for path in (state.archive / "2").iterdir()) == [f"job-{ID}", f"job-{ID}.log"]
    assert not state.job_file(ID).exists() and not state.log_file(ID).exists()


def test_archiving_again_changes_nothing(state: StateDirectory) -> None:
    write(state, ID)
    archive_job(state, Files(), ID)
    assert archive_job(state, Files(), ID)
    assert archived_log_file(state, ID).read_text() == "a line\n"


@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_move_that_failed_half_way_is_finished_by_the_next_call(state: StateDirectory, fail_at: int) -> None:
    write(state, ID)
    with pytest.raises(OSError):
        archive_job(state, StoppingFiles(fail_at), ID)
    assert state.job_file(ID).exists()
    assert archive_job(state, Files(), ID)
    assert archived_job_file(state, ID).exists() and archived_log_file(state, ID).exists()
    assert not state.log_file(ID).exists()


def test_a_job_that_an_administrator_moved_gets_its_log_moved_too(state: StateDirectory) -> None:
    write(state, ID)
    (state.archive / "2").mkdir()
    state.job_file(ID).rename(archived_job_file(state, ID))
    assert archive_job(state, Files(), ID)
    assert archived_log_file(state, ID).exists()


def test_a_job_without_a_log_is_archived(state: StateDirectory) -> None:
    write(state, ID)
    state.log_file(ID).unlink()
    assert archive_job(state, Files(), ID)


def test_a_job_without_a_file_is_told(state: StateDirectory) -> None:
    assert not archive_job(state, Files(), ID)


def test_of_many_jobs_each_is_moved_and_each_failure_told(state: StateDirectory) -> None:
    for job_id in (1, 3, 4):
        write(state, job_id)
        state.log_file(job_id).unlink()
    failed = archive_jobs(state, StoppingFiles(5), [1, 2, 3, 4])
    assert list(failed) == [2, 3]
    assert failed[2] is None and isinstance(failed[3], OSError)
    assert list(iter_archived(state)) == [1, 4]


def test_forgetting_removes_both_files_and_may_be_repeated(state: StateDirectory) -> None:
    write(state, 5)
    forget_job(state, Files(), 5)
    forget_job(state, Files(), 5)
    assert list(state.path.glob("job-*")) == []


def test_the_archive_is_walked_in_order_of_ids_whatever_else_lies_there(state: StateDirectory) -> None:
    ids = [9_999, 10_000, 2, 100_000, 30]
    for job_id in ids:
        write(state, job_id)
    assert archive_jobs(state, Files(), ids) == {}
    (state.archive / "notes").mkdir()
    (state.archive / "7").touch()
    (state.archive / "0" / "job-x").touch()
    assert list(iter_archived(state)) == sorted(ids)
    assert list(iter_archived(state, newest_first=True)) == sorted(ids, reverse=True)


def test_a_state_directory_without_an_archive_has_nothing_archived(tmp_path: Path) -> None:
    assert list(iter_archived(StateDirectory(tmp_path))) == []


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("job-0", 0),
        ("job-42", 42),
        ("job-42.log", None),
        ("job-", None),
        ("job--1", None),
        ("job-٣", None),
        ("x", None),
    ],
)
def test_only_digits_make_a_job_file(name: str, job_id: int | None) -> None:
    assert job_id_of(name) == job_id


def test_a_job_is_read_live_and_archived(state: StateDirectory) -> None:
    write(state, ID)
    assert load_job(state, ID) == ({"id": 1, "ops": []}, False)
    archive_job(state, Files(), ID)
    assert load_job(state, ID) == ({"id": 1, "ops": []}, True)
    assert load_job(state, ID + 1) is None


def test_a_job_that_comes_back_between_the_looks_is_found(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(state, ID)
    real, looked = os.open, []

    def late(path: Path, flags: int) -> int:
        looked.append(path)
        if len(looked) == 1:
            raise FileNotFoundError
        return real(path, flags)

    monkeypatch.setattr("jqueue.store.archive.os.open", late)
    assert load_job(state, ID) == ({"id": 1, "ops": []}, False)
    assert looked == [state.job_file(ID), archived_job_file(state, ID), state.job_file(ID)]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"id": 1}', '{"id": 1, "ops": {}}', "[" * 100_000])
def test_a_damaged_file_is_told_by_name(state: StateDirectory, text: str) -> None:
    write(state, 4, text)
    with pytest.raises(StateError, match=str(state.job_file(4))):
        load_job(state, 4)


def test_a_link_in_place_of_a_job_file_is_not_followed(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    state.job_file(4).symlink_to(tmp_path / "secret")
    with pytest.raises(StateError, match="job 4 cannot be read"):
        load_job(state, 4)


def test_where_a_job_is_is_known_and_a_link_counts_as_the_file(state: StateDirectory) -> None:
    assert is_archived(state, Files(), ID) is None
    write(state, ID)
    assert is_archived(state, Files(), ID) is False
    archive_job(state, Files(), ID)
    assert is_archived(state, Files(), ID) is True
    state.job_file(ID).symlink_to("nowhere")
    assert is_archived(state, Files(), ID) is False


def test_a_place_that_cannot_be_looked_at_is_no_place_without_a_file(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Files, path: Path) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Files, "stat", refuse)
    with pytest.raises(OSError):
        is_archived(state, Files(), ID)
