"""The journal under any mixture of appends, checkpoints, crashes, kills and a disk that is full now and then."""

from __future__ import annotations

import errno
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from jqueue.errors import DiskFull, StoreFailed

from .faulty import Crash, Fault, FaultyFiles
from .recorder import check, disk, recovered


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = recovered(disk())
        self.number = 0

    @rule(size=st.integers(1, 400), refusable=st.booleans(), turn=st.booleans())
    def append(self, size: int, refusable: bool, turn: bool) -> None:
        self.number += 1
        self.queue.append(f"{self.number}.".encode().ljust(size, b"-"), refusable)
        if turn:
            self.queue.turn()

    @rule()
    def checkpoint(self) -> None:
        with suppress(DiskFull, StoreFailed):  # that of a reserve that is used up
            self.queue.checkpoint()

    @rule()
    def fill_the_disk(self) -> None:
        self.queue.files.fault = Fault(len(self.queue.files.calls), errno.ENOSPC, lasting=True)

    @rule()
    def make_room(self) -> None:
        self.queue.files.fault = None
        self.queue.journal.retry_space()
        assert not self.queue.journal.full or self.queue.failures

    @rule(survivor=st.integers(0, 100))
    def lose_power(self, survivor: int) -> None:
        found = list(self.queue.files.survivors())
        self.start_again(found[survivor % len(found)])

    @rule(calls=st.integers(0, 12), size=st.integers(1, 200), survivor=st.integers(0, 100))
    def lose_power_at_a_call(self, calls: int, size: int, survivor: int) -> None:
        self.queue.files.fault = Fault(len(self.queue.files.calls) + calls, "torn")
        with suppress(Crash, StoreFailed):
            self.append(size, False, True)
            self.checkpoint()
        self.lose_power(survivor)

    @rule()
    def kill(self) -> None:
        self.start_again(self.queue.files.killed())

    def start_again(self, files: FaultyFiles) -> None:
        check(self.queue, files.killed())
        self.queue = recovered(files)


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)
