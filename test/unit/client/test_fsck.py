from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jqueue.client import fsck
from jqueue.client.findings import DAMAGED, NEXT_START, OK, Finding, id_ranges
from jqueue.errors import JournalDamaged, PermissionDenied, StateDirLocked, StateError
from jqueue.jobs import packing
from jqueue.jobs.status import ERROR, RUNNING, SUCCESS
from jqueue.sched.snapshot import Recovered, recover
from jqueue.store.checkpointfile import find_latest
from jqueue.store.files import Files
from jqueue.store.replay import replay
from jqueue.store.statedir import DirectoryLock

from .queuedir import (
    QueueDirectory,
    archived,
    became,
    flip,
    healthy,
    make_job,
    snapshot_of,
    submitted,
)

NOW = 1_700_000_000.0


def found(directory: Path, level: str) -> list[tuple[str, str]]:
    return [(each.part, each.text) for each in fsck.check(directory).findings if each.level == level]


def only(directory: Path, level: str) -> str:
    [(_, text)] = found(directory, level)
    return text


class _Host:
    def time(self) -> float:
        return NOW


def recovered(made: QueueDirectory) -> Recovered:
    """What a start would find; fails with JournalDamaged if it would refuse."""
    files = Files()
    after, chunks = find_latest(made.state.journal, files, lambda damage: None)
    return recover(_Host(), chunks, replay(made.state.journal, files, after))


def test_a_healthy_directory_is_said_to_be_so_and_not_touched(tmp_path: Path) -> None:
    made = healthy(tmp_path / "q")
    before = snapshot_of(tmp_path)
    report = fsck.check(made.state.path)
    assert report.damaged == [] and report.plan is None and report.holder is None
    assert [each.text for each in report.findings if each.level == NEXT_START] == [
        "job 2: ran when the daemon ended; queued again if restartable, else error"
    ]
    assert ("journal", "1 segment, records up to 6, nothing missing") in found(made.state.path, OK)
    assert ("jobs", "3 of 3 job files say what the journal says") in found(made.state.path, OK)
    assert snapshot_of(tmp_path) == before


def test_something_else_than_a_state_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="neither `version` nor `journal`"):
        fsck.check(tmp_path)
    with pytest.raises(StateError, match="No such file"):
        fsck.check(tmp_path / "nothing")


def test_a_directory_of_another_layout_is_damaged(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.state.version.write_text("7\n")
    assert "layout '7'" in only(tmp_path, DAMAGED)


def test_the_daemon_that_uses_it_is_named_and_its_torn_ends_are_not_faults(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    path = made.segment(1, [submitted(1)])
    flip(path, made.offsets[-1] + 50)
    lock = DirectoryLock(made.state)
    lock.acquire()
    try:
        report = fsck.check(tmp_path)
    finally:
        lock.release()
    assert report.holder is not None and report.holder.pid == os.getpid()
    assert report.damaged == []
    assert [each for each in report.findings if each.level == NEXT_START] == []
    assert ("journal", "its end is being written") in [(each.part, each.text) for each in report.findings]


def test_looking_leaves_the_lock_free(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.state.lock.write_text("1 then\n")
    fsck.check(tmp_path)
    with made.state.lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert made.state.lock.read_text() == "1 then\n"


# The journal


def test_a_torn_tail_is_harmless(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    path = made.segment(1, [submitted(1)], [became(1, RUNNING)])
    data = path.read_bytes()
    path.write_bytes(data[: made.offsets[1] + 30] + bytes(100))
    [torn] = [each for each in fsck.check(tmp_path).findings if "torn tail" in each.text]
    assert (torn.level, torn.path, torn.offset) == (NEXT_START, str(path), made.offsets[1])
    assert recovered(made).jobs.keys() == {1}


def test_damage_in_the_middle_has_file_and_offset_and_a_price(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    path = next(made.state.journal.glob("*.seg"))
    flip(path, made.offsets[1] + 40)
    report = fsck.check(tmp_path)
    [damage] = report.damaged
    assert (damage.part, damage.path, damage.offset) == ("journal", str(path), made.offsets[1])
    plan = report.plan
    assert plan is not None
    assert (plan.kept, plan.unreadable, plan.readable) == (2, 2, 2)
    assert (plan.vanished, plan.older, plan.held) == ({3}, {1, 2}, {1, 2})
    assert plan.last_id == 3


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.segment(9, [submitted(9)])
    report = fsck.check(tmp_path)
    assert "record 7 is missing or damaged, while the next segment begins with record 9" in report.damaged[0].text
    assert report.plan is not None and report.plan.vanished == {9}
    assert (report.plan.unreadable, report.plan.readable) == (2, 1)


def test_a_journal_that_is_gone_is_damage(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    shutil.rmtree(made.state.journal)
    assert "a start without it forgets every job" in only(tmp_path, DAMAGED)


def test_a_segment_that_a_checkpoint_stands_for_is_told_but_needs_no_repair(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    flip(next(made.state.journal.glob("*.seg")), made.offsets[1] + 40)
    checkpoint(made, 6)
    made.segment(7, [submitted(4)])
    made.job_files([make_job(4)])
    report = fsck.check(tmp_path)
    assert "the start does not read it" in report.damaged[0].text
    assert report.plan is None


def checkpoint(made: QueueDirectory, sequence: int) -> Path:
    rows = [[job.id, packing.pack(job)] for job in (make_job(1, SUCCESS), make_job(2, RUNNING), make_job(3))]
    return made.checkpoint(sequence, ["active", rows], last_id=3)


def test_checkpoints_are_said_to_be_whole_or_not(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    whole = checkpoint(made, 2)
    broken = checkpoint(made, 6)
    flip(broken, 60)
    report = fsck.check(tmp_path)
    assert [(each.level, each.path) for each in report.findings if each.part == "checkpoint"] == [
        (DAMAGED, str(broken)),
        (OK, str(whole)),
    ]
    assert report.plan is None, "the one before it serves"


def test_without_any_beginning_there_is_no_repair(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    next(made.state.journal.glob("*.seg")).unlink()
    flip(checkpoint(made, 6), 60)
    made.segment(7, [submitted(4)])
    report = fsck.check(tmp_path)
    assert report.damaged and report.plan is None
    assert fsck.repair(tmp_path, NOW)[1] is None


# The files of jobs


def remove(made: QueueDirectory) -> None:
    made.state.job_file(3).unlink()


def spoil(made: QueueDirectory) -> None:
    made.state.job_file(3).write_text("{")


def age(made: QueueDirectory) -> None:
    made.job_files([make_job(3, ERROR)])


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        (remove, NEXT_START, "job 3: the file is missing, and is written again"),
        (spoil, NEXT_START, "job-3 does not hold a job, and is written again"),
        (age, NEXT_START, "job 3: the file does not say what the journal says, and is written again"),
    ],
)
def test_a_job_file_that_the_start_mends_is_told(
    tmp_path: Path, change: Callable[[QueueDirectory], None], level: str, text: str
) -> None:
    made = healthy(tmp_path)
    change(made)
    assert any(text in line for _, line in found(tmp_path, level))
    assert found(tmp_path, DAMAGED) == []


@pytest.mark.parametrize(("change", "cure"), [(spoil, "remove the file"), (age, "remove it")])
def test_a_job_file_that_no_start_looks_at_is_damage(
    tmp_path: Path, change: Callable[[QueueDirectory], None], cure: str
) -> None:
    made = healthy(tmp_path)
    checkpoint(made, 6)
    change(made)
    assert f"{cure}, and the next start writes it again" in only(tmp_path, DAMAGED)


def test_a_final_job_whose_content_nobody_has_is_damage(tmp_path: Path) -> None:
    made = QueueDirectory(tmp_path)
    rows: list[object] = [[job_id, [SUCCESS, None, None, None, None, [], 0], None] for job_id in (7, 8)]
    made.checkpoint(5, ["finished", rows], last_id=8)
    made.segment(6)
    made.job_files([make_job(8, SUCCESS)], archive=True)
    assert only(tmp_path, DAMAGED).startswith(f"{made.state.job_file(7)} is missing")
    assert ("jobs", "job 8: moved into the archive, not by the queue") in found(tmp_path, OK)


def test_a_job_that_the_journal_does_not_know_is_told(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.job_files([make_job(9)])
    assert "job 9: unknown to the journal" in only(tmp_path, DAMAGED)
    made.segment(7, [submitted(10)])
    made.job_files([make_job(10)])
    assert found(tmp_path, DAMAGED) == []
    assert any("job 9: unknown" in text for _, text in found(tmp_path, OK))


def test_a_move_to_the_archive_that_was_not_finished_is_told(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.segment(7, [archived(1)])
    assert any(text == "job 1: not in the archive yet, and moved there" for _, text in found(tmp_path, NEXT_START))
    made.state.job_file(1).unlink()
    made.job_files([make_job(1, SUCCESS)], archive=True)
    assert ("archive", "1 job, readable") in found(tmp_path, OK)
    assert not any("archive" in text for _, text in found(tmp_path, NEXT_START))


def test_a_log_that_ends_in_a_line_is_harmless(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.state.log_file(1).write_text('[0,1,[1,0],"message","whole"]\n')
    made.state.log_file(2).write_text('[0,1,[1,0],"mess')
    assert ("logs", "1 of 2 logs end with a whole line") in found(tmp_path, OK)
    assert any(part == "logs" and text.startswith("job 2: ") for part, text in found(tmp_path, NEXT_START))
    assert found(tmp_path, DAMAGED) == []


def test_what_is_wrong_in_the_archive_is_told_by_file(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.job_files([make_job(number, SUCCESS) for number in (50, 51, 52)], archive=True)
    bucket = made.state.archive / "0"
    (bucket / "job-51").write_text("[]")
    (made.state.archive / "3").mkdir()
    (bucket / "job-52").rename(made.state.archive / "3" / "job-52")
    report = fsck.check(tmp_path)
    assert {each.path for each in report.damaged} == {
        str(bucket / "job-51"),
        str(made.state.archive / "3" / "job-52"),
    }
    assert ("archive", "1 job, readable") in found(tmp_path, OK)


# Repair


def damaged(path: Path) -> QueueDirectory:
    made = healthy(path)
    flip(next(made.state.journal.glob("*.seg")), made.offsets[1] + 40)
    made.state.log_file(3).write_text("the log\n")
    return made


def test_a_repair_keeps_what_is_before_the_damage_and_loses_nothing_else(tmp_path: Path) -> None:
    made = damaged(tmp_path)
    segment = next(made.state.journal.glob("*.seg"))
    original = segment.read_bytes()
    with pytest.raises(JournalDamaged):
        recovered(made)
    _, aside = fsck.repair(tmp_path, NOW)
    assert aside is not None and aside.parent == made.state.journal
    assert (aside / segment.name).read_bytes() == original
    assert {each.name for each in aside.iterdir()} == {segment.name, "job-3", "job-3.log"}
    assert not made.state.job_file(3).exists() and not made.state.log_file(3).exists()
    jobs = recovered(made)
    assert jobs.jobs.keys() == {1, 2}
    assert jobs.last_id == 3, "the id of the lost job is not used again"
    assert fsck.check(tmp_path).damaged == []


def test_jobs_that_would_run_twice_are_held_after_a_repair(tmp_path: Path) -> None:
    made = QueueDirectory(tmp_path)
    path = made.segment(1, [submitted(1, 2, 3)], [submitted(4)], [became(2, RUNNING)])
    flip(path, made.offsets[1] + 40)
    made.job_files([make_job(1), make_job(2), make_job(3, SUCCESS)])
    _, aside = fsck.repair(tmp_path, NOW)
    assert aside is not None
    jobs = recovered(made).jobs
    paused = {job_id for job_id, job in jobs.items() if not isinstance(job, bytes) and job.paused}
    assert paused == {2, 3}, "2 says the journal behind the damage, 3 says its file"


def test_later_segments_are_set_aside_too(tmp_path: Path) -> None:
    made = damaged(tmp_path)
    made.segment(7, [submitted(4)])
    made.segment(8, [submitted(5)])
    _, aside = fsck.repair(tmp_path, NOW)
    assert aside is not None
    assert len(list(aside.glob("*.seg"))) == 3
    assert recovered(made).last_id == 5


def test_a_segment_without_a_header_is_replaced(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    path = made.segment(7, [submitted(4)])
    flip(path, 2)
    _, aside = fsck.repair(tmp_path, NOW)
    assert aside is not None and (aside / path.name).exists()
    jobs = recovered(made)
    assert jobs.jobs.keys() == {1, 2, 3}
    assert jobs.last_id == 4, "what is behind a header can still be read"


def test_records_that_a_checkpoint_has_seen_need_no_journal(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    checkpoint(made, 8)
    assert "which a checkpoint has seen, are missing" in fsck.check(tmp_path).damaged[0].text
    fsck.repair(tmp_path, NOW)
    assert recovered(made).jobs.keys() == {1, 2, 3}
    assert fsck.check(tmp_path).damaged == []


def test_nothing_is_repaired_that_is_not_damaged(tmp_path: Path) -> None:
    made = healthy(tmp_path)
    made.state.lock.touch()
    before = {name: data for name, data in snapshot_of(tmp_path).items() if not name.endswith("lock")}
    report, aside = fsck.repair(tmp_path, NOW)
    assert aside is None and report.damaged == []
    assert {name: data for name, data in snapshot_of(tmp_path).items() if not name.endswith("lock")} == before


def test_a_repair_is_refused_while_a_daemon_has_the_directory(tmp_path: Path) -> None:
    made = damaged(tmp_path)
    lock = DirectoryLock(made.state)
    lock.acquire()
    before = snapshot_of(tmp_path)
    try:
        with pytest.raises(StateDirLocked, match=f"process {os.getpid()}"):
            fsck.repair(tmp_path, NOW)
    finally:
        lock.release()
    assert snapshot_of(tmp_path) == before


def test_a_repair_is_for_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    before = snapshot_of(tmp_path)
    with pytest.raises(PermissionDenied, match="run it as that user"):
        fsck.repair(tmp_path, NOW)
    assert snapshot_of(tmp_path) == before


def test_findings_name_ids_as_every_verb_takes_them() -> None:
    assert id_ranges([7, 3, 5, 6]) == "3,5-7"
    assert id_ranges(range(0, 60, 2)).endswith("38,... (up to 58)")
    assert Finding(OK, "part", "text")._asdict()["path"] is None
