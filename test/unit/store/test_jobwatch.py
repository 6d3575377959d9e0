"""Noticing job files that an administrator moves or removes, on real events."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from zope.interface import implementer

from jqueue.store.archive import archived_job_file
from jqueue.store.files import Files
from jqueue.store.jobwatch import JobWatch
from jqueue.store.statedir import StateDirectory
from jqueue.watch import DirectoryWatch


@implementer(IReactorFDSet)
class FakeReactor:
    def addReader(self, reader: IReadDescriptor) -> None:
        pass

    def removeReader(self, reader: IReadDescriptor) -> None:
        pass

    def addWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def getReaders(self) -> list[IReadDescriptor]:
        return []

    def getWriters(self) -> list[IWriteDescriptor]:
        return []

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        return []


def test_moves_and_removals_are_told_and_writes_are_not(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.prepare(Files())
    watch = DirectoryWatch(FakeReactor())
    gone: list[int] = []
    assert JobWatch(state, watch, gone.append).start()
    for job_id in (1, 2, 3):
        (state.tmp / "new").write_text("{}")
        (state.tmp / "new").rename(state.job_file(job_id))
        state.log_file(job_id).write_text("a line\n")
    (state.tmp / "new").write_text("{}")
    (state.tmp / "new").rename(state.job_file(3))
    watch.doRead()
    state.log_file(1).unlink()
    state.job_file(1).unlink()
    (state.archive / "0").mkdir()
    state.job_file(2).rename(archived_job_file(state, 2))
    watch.doRead()
    assert gone == [1, 2]
    watch.stop()
