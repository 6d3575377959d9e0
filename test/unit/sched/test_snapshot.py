"""Checkpoints: what goes in comes out, whatever happens between two chunks."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest

from jqueue.errors import JournalDamaged
from jqueue.sched import snapshot
from jqueue.sched.queries import same

from .rig import Rig, op


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_CHUNK", 1)


class Taking:
    """A checkpoint, from the rotation of the journal on."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        queue = rig.queue
        rig.sync()
        self.last = rig.journal.next_sequence - 1
        self.chunks: Iterator[bytes] = snapshot.chunks(
            queue.table, queue.requests, queue.identities, queue.submission.last_id
        )
        self.taken: list[bytes] = []

    def take(self, count: int = 1000) -> None:
        for chunk in self.chunks:
            self.taken.append(chunk)
            count -= 1
            if not count:
                return

    def crash(self) -> Rig:
        self.take()
        return self.rig.crash(self.taken, self.last, start=False)


def state(rig: Rig) -> dict[int, object]:
    return {job_id: rig.job(job_id).Serialize() for job_id in rig.queue.table}


def test_a_checkpoint_alone_has_everything() -> None:
    rig = Rig(size=1)
    rig.submit([op()], [op(priority=-10)], {"name": "x", "ops": [op(), op()]}, request_id="r")
    rig.now(rig.queue.cancel(3, False, False))
    rig.now(rig.queue.pause(1))
    rig.finish()
    rig.queue.processor.stop()
    rig.now(rig.queue.pause(rig.submit_one(op(priority=10))))
    rig.queue.identities.add("file")
    before = state(rig)
    other = Taking(rig).crash()
    assert state(other) == before
    assert other.queue.identities == {"file"}
    assert other.queue.submission.last_id == 4
    assert list(other.queue.requests.serialize())[0][3] == [1, 2, 3]
    assert other.queue.table.counts == rig.queue.table.counts


@pytest.mark.parametrize("chunks", range(12))
def test_it_does_not_matter_what_happens_between_two_chunks(chunks: int) -> None:
    rig = Rig(size=1, keep=2)
    rig.submit([op()], [op()], [op()], [op()], request_id="r")
    rig.step()
    taking = Taking(rig)
    taking.take(chunks)
    rig.step()
    rig.submit([op()], [op()], request_id="s")
    rig.now(rig.queue.change_priority(4, 10, admin=False))
    rig.now(rig.queue.cancel(6, False, False))
    assert rig.now(rig.queue.archive(1))
    rig.step()
    rig.now(rig.queue.archiving.forget(2))
    other = taking.crash()
    assert set(other.queue.table) == set(rig.queue.table) == {3, 4, 5, 6}
    assert [other.status(n) for n in (3, 6)] == ["success", "canceled"]
    assert [(other.status(n), other.job(n).ops[0].priority) for n in (4, 5)] == [("queued", 10), ("error", 0)]
    assert [row[1] for row in other.queue.requests.serialize()] == ["r", "s"]
    assert other.queue.submission.last_id == 6
    assert (1 in other.disk.archived, 2 in other.disk.gone) == (True, True)


def test_a_job_that_is_only_a_row_stays_one() -> None:
    rig = Rig(keep=1)
    rig.submit([op()], [op()])
    rig.finish()
    other = Taking(rig).crash()
    assert (other.queue.table.get(1), other.status(1), other.status(2)) == (None, "success", "success")
    assert list(other.queue.table.finished) == [1, 2]
    for row, before in zip(other.queue.table.finished.values(), rig.queue.table.finished.values(), strict=True):
        assert same(row, before)


def test_a_submission_that_is_durable_and_not_yet_told_is_in_the_checkpoint() -> None:
    rig = Rig(start=False)
    rig.queue.submit([[op()]] * 4, {"request_id": "r"}, uid=7, admin=True)
    rig.queue.submit_drop([[op()]], {}, 7, "dropped")
    while rig.turns.waiting:
        rig.turns.take()
    rig.journal.sync()
    queue = rig.queue
    chunks = list(snapshot.chunks(queue.table, queue.requests, queue.identities, queue.submission.last_id))
    other = rig.crash(chunks, rig.journal.next_sequence - 1, start=False)
    assert set(other.queue.table) == {1, 2, 3, 4, 5}
    assert other.queue.identities == {"dropped"}
    assert other.submit(*[[op()]] * 4, request_id="r") == [1, 2, 3, 4]


def test_an_identity_is_forgotten_when_the_removal_of_its_file_is_durable() -> None:
    rig = Rig(start=False)
    rig.now(rig.queue.submit_drop([[op()]], {}, 7, "one"))
    rig.now(rig.queue.submit_drop([[op()]], {}, 7, "two"))
    rig.queue.drops_removed(["one"])
    rig.sync()
    assert rig.queue.identities == {"two"}
    assert rig.crash(start=False).queue.identities == {"two"}


@pytest.mark.parametrize(
    ("checkpoint", "record"),
    [
        (b"\xc1", None),
        (msgpack.packb(["novelty", []]), None),
        (None, b"\xc1"),
        (None, msgpack.packb(["novelty", 1])),
        (None, msgpack.packb(["update", "x", b""])),
    ],
)
def test_what_is_not_ours_is_refused(checkpoint: bytes | None, record: bytes | None) -> None:
    with pytest.raises(JournalDamaged):
        snapshot.recover(
            Rig().queue.host,
            [checkpoint] if checkpoint is not None else [],
            [(1, record)] if record is not None else [],
        )
