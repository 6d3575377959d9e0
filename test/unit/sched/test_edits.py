"""A change of a job: durable first, then visible, one after the other."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from jqueue.errors import DiskFull, JobLost, StoreFailed
from jqueue.jobs import packing
from jqueue.jobs.job import _QueuedJob
from jqueue.jobs.status import ERROR
from jqueue.sched.edits import Edits
from jqueue.sched.table import JobTable
from jqueue.store.memory import MemoryJournal

from .rig import op


class Host:
    def time(self) -> float:
        return 5.0


class Setup:
    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.table = JobTable(Host(), keep_whole=10)
        self.published: list[tuple[str | None, str | None]] = []
        self.edits = Edits(self.table, self.journal, lambda one, other: self.published.append((one.name, other.name)))
        self.table.add_packed(1, packing.pack(_QueuedJob(Host(), 1, [op()])))

    def rename(self, name: str) -> Deferred[str | None]:
        """Gives job 1 a name.

        @return: fires with the name that it had
        """

        def change(draft: _QueuedJob) -> str | None:
            draft.name, old = name, draft.name
            return old

        return self.edits.edit(1, change)

    def name(self) -> str | None:
        job = self.table.get(1)
        assert job is not None
        return job.name


def results(*answers: Deferred[str | None]) -> list[object]:
    """@return: of each what it fired with, the class of what it failed with, or an ellipsis if nothing yet"""
    found: list[object] = [...] * len(answers)
    for index, answer in enumerate(answers):

        def note(result: object, index: int = index) -> None:
            found[index] = result

        answer.addCallbacks(note, lambda failure, note=note: note(failure.type))
    return found


def test_a_change_is_visible_only_when_it_is_synced() -> None:
    setup = Setup()
    before = setup.table.get(1)
    found = results(setup.rename("x"))
    assert (setup.name(), setup.published, found) == (None, [], [...])
    setup.journal.sync()
    assert (setup.name(), setup.published, found) == ("x", [(None, "x")], [None])
    assert before is not None and before.name is None


def test_changes_of_a_job_are_made_one_after_the_other_each_on_what_the_last_one_published() -> None:
    setup = Setup()
    found = results(setup.rename("x"), setup.rename("y"), setup.rename("z"))
    assert setup.journal.unsynced_records == 1
    for _ in range(3):
        setup.journal.sync()
    assert found == [None, "x", "y"]
    assert setup.published == [(None, "x"), ("x", "y"), ("y", "z")]


def test_a_change_that_changes_nothing_needs_no_record() -> None:
    setup = Setup()
    assert results(setup.edits.edit(1, lambda draft: draft.name)) == [None]
    assert (setup.journal.unsynced_records, setup.published) == (0, [])


def test_a_change_that_raises_changes_nothing_and_the_next_one_goes_on() -> None:
    setup = Setup()

    def change(draft: _QueuedJob) -> str | None:
        draft.name = "half"
        raise ZeroDivisionError

    found = results(setup.rename("x"), setup.edits.edit(1, change), setup.rename("y"))
    setup.journal.sync()
    setup.journal.sync()
    assert found == [None, ZeroDivisionError, "x"]


def test_a_job_that_is_not_in_memory_cannot_be_changed() -> None:
    setup = Setup()
    assert results(setup.edits.edit(2, lambda draft: draft.name)) == [JobLost]


def test_a_broken_journal_fails_every_change_and_publishes_none() -> None:
    setup = Setup()
    found = results(*(setup.rename(str(number)) for number in range(3)))
    setup.journal.break_down()
    found += results(setup.rename("later"))
    assert found == [StoreFailed] * 4
    assert (setup.name(), setup.published) == (None, [])


def test_a_failure_of_those_who_are_told_does_not_hold_up_the_next_change() -> None:
    setup = Setup()

    def broken(before: _QueuedJob, after: _QueuedJob) -> None:
        raise ZeroDivisionError

    setup.edits = Edits(setup.table, setup.journal, broken)
    found = results(setup.rename("x"), setup.rename("y"))
    setup.journal.sync()
    setup.journal.sync()
    assert (setup.name(), found) == ("y", [None, "x"])


def test_what_an_answer_does_next_comes_after_what_was_asked_before() -> None:
    setup = Setup()
    names: list[str | None] = []
    setup.rename("x").addCallback(lambda _: setup.rename("z").addCallback(names.append))
    setup.rename("y").addCallback(names.append)
    for _ in range(3):
        setup.journal.sync()
    assert (names, setup.name()) == (["x", "y"], "z")


def test_a_record_about_a_job_keeps_its_place_between_the_changes() -> None:
    setup = Setup()
    seen: list[str | None] = []

    def make(job: _QueuedJob | None) -> bytes | None:
        seen.append(job.name if job is not None else None)
        return b"record" if len(seen) == 1 else None

    setup.rename("x")
    answers: list[bool] = []
    setup.edits.record(1, make).addCallback(answers.append)
    setup.edits.record(1, make).addCallback(answers.append)
    assert seen == []
    setup.journal.sync()
    assert (seen, answers) == (["x"], [])
    setup.journal.sync()
    assert (seen, answers) == (["x", "x"], [True, False])


def test_replaying_the_records_gives_the_published_version() -> None:
    setup = Setup()

    def end(draft: _QueuedJob) -> str | None:
        draft.MarkUnfinishedOps(ERROR, ["x", ["y", "z"]])
        draft.Finalize()
        return None

    setup.rename("x")
    setup.edits.edit(1, end)
    setup.journal.sync()
    setup.journal.sync()
    replayed = _QueuedJob(Host(), 1, [op()])
    for _, record in setup.journal.records:
        _, _, update = packing._loads(record)
        packing.apply_update(replayed, update)
    job = setup.table.get(1)
    assert job is not None
    assert (replayed.Serialize()["jqueue"], replayed.CalcStatus()) == (job.Serialize()["jqueue"], "error")


def test_a_broken_journal_fails_a_long_line_of_changes_to_its_end() -> None:
    setup = Setup()
    found = results(*(setup.rename(str(number)) for number in range(2000)))
    setup.journal.break_down()
    assert found == [StoreFailed] * 2000


# Several jobs at once


class Together(Setup):
    """Jobs 1 to 3."""

    def __init__(self) -> None:
        super().__init__()
        for job_id in (2, 3):
            self.table.add_packed(job_id, packing.pack(_QueuedJob(Host(), job_id, [op()])))
        self.told: list[tuple[int, list[str | None]]] = []
        self.edits = Edits(self.table, self.journal, self._tell)

    def _tell(self, _before: _QueuedJob, after: _QueuedJob) -> None:
        self.told.append((after.id, self.names()))

    def names(self) -> list[str | None]:
        return [job.name for job_id in (1, 2, 3) if (job := self.table.get(job_id)) is not None]

    def rename_all(self, name: str, *job_ids: int, refusable: bool = False) -> Deferred[str | None]:
        """Gives jobs a name each.

        @return: fires with the names that they had
        """

        def change(drafts: list[_QueuedJob]) -> str:
            old = " ".join(str(draft.name) for draft in drafts)
            for draft in drafts:
                draft.name = f"{name}{draft.id}"
            return old

        return self.edits.edit_all(job_ids or (3, 2, 1), change, refusable=refusable)


def test_several_jobs_change_in_one_record_and_all_are_visible_before_anybody_is_told() -> None:
    setup = Together()
    found = results(setup.rename_all("x"))
    assert (setup.journal.unsynced_records, setup.names(), found) == (1, [None] * 3, [...])
    setup.journal.sync()
    assert setup.told == [(n, ["x1", "x2", "x3"]) for n in (3, 2, 1)]
    assert found == ["None None None"]


def test_a_change_of_several_waits_for_those_before_and_goes_before_those_behind() -> None:
    setup = Together()
    found = results(setup.rename("a"), setup.rename_all("x"), setup.rename("b"), setup.rename_all("y", 2, 1))
    assert setup.journal.unsynced_records == 1
    for _ in range(4):
        assert setup.journal.unsynced_records == 1
        setup.journal.sync()
    assert found == [None, "None None a", "x1", "x2 b"]
    assert setup.names() == ["y1", "y2", "x3"]


def test_jobs_that_are_not_concerned_do_not_wait() -> None:
    setup = Together()
    setup.rename("a")
    found = results(setup.rename_all("x", 2, 1), setup.rename_all("y", 3))
    setup.journal.sync()
    assert found == [..., "None"]


def test_a_change_of_several_that_raises_changes_none_and_the_next_one_goes_on() -> None:
    setup = Together()

    def change(drafts: list[_QueuedJob]) -> str | None:
        drafts[0].name = "half"
        raise ZeroDivisionError

    found = results(setup.edits.edit_all((3, 2, 1), change), setup.rename_all("x"))
    setup.journal.sync()
    assert found == [ZeroDivisionError, "None None None"]
    assert setup.names() == ["x1", "x2", "x3"]


def test_only_those_that_change_are_recorded_and_told() -> None:
    setup = Together()

    def change(drafts: list[_QueuedJob]) -> None:
        drafts[1].name = "x"

    setup.edits.edit_all((3, 2, 1), change)
    (record,) = setup.journal.unsynced
    assert [job_id for job_id, _ in packing._loads(record)[1]] == [2]
    setup.journal.sync()
    assert [job_id for job_id, _ in setup.told] == [2]


def test_if_none_changes_no_record_is_needed() -> None:
    setup = Together()
    assert results(setup.edits.edit_all((3, 2, 1), lambda drafts: str(len(drafts)))) == ["3"]
    assert setup.journal.unsynced_records == 0


def test_a_job_that_is_not_in_memory_is_left_out() -> None:
    setup = Together()
    assert results(setup.rename_all("x", 9, 2)) == [...]
    setup.journal.sync()
    assert setup.names() == [None, "x2", None]


def test_on_a_full_disk_what_may_be_refused_is_and_nothing_has_changed() -> None:
    setup = Together()
    setup.journal.set_full(True)
    found = results(setup.rename_all("x", refusable=True), setup.rename_all("y"))
    setup.journal.sync()
    assert found == [DiskFull, "None None None"]
    assert setup.names() == ["y1", "y2", "y3"]


def test_a_broken_journal_fails_changes_of_several_and_what_waits_behind_them() -> None:
    setup = Together()
    found = results(setup.rename_all("x"), setup.rename_all("y"), setup.rename("z"))
    setup.journal.break_down()
    assert found == [StoreFailed] * 3
    assert (setup.names(), setup.told) == ([None] * 3, [])


def test_what_an_answer_does_next_comes_after_what_was_asked_before_of_any_of_them() -> None:
    setup = Together()
    names: list[str | None] = []
    setup.rename_all("x").addCallback(lambda _: setup.rename_all("z").addCallback(names.append))
    setup.rename("y").addCallback(names.append)
    for _ in range(3):
        setup.journal.sync()
    assert names == ["x1", "x3 x2 y"]
