"""The parts of the daemon that touch the disk, and their threads."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from jqueue.config import Config
from jqueue.daemon.reactors import Reactor
from jqueue.sched.outcome import MAX_RESULT_SIZE
from jqueue.store.checkpoint import CheckpointWriter
from jqueue.store.files import Files
from jqueue.store.history import History
from jqueue.store.jobfiles import JobFiles
from jqueue.store.jobwriter import JobWriter
from jqueue.store.journal import Journal
from jqueue.store.logfiles import LogFiles
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread
from jqueue.turns import Turns

_WORTH_WAITING = 0.005  # seconds

_log = Logger()


class Storage:
    """Journal, checkpoints, job files, logs and archive of one state directory."""

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        reactor: Reactor,
        turns: Turns,
        failed: Callable[[BaseException], None],
        on_full: Callable[[bool], None],
    ) -> None:
        """Makes the parts and starts their threads.

        @param turns: the work of others, whose records are worth waiting for a moment
        @param failed: told that the disk failed in a way that must not be retried
        @param on_full: told that the disk is full, or is not any more
        """
        self._reactor = reactor
        self._turns = turns
        self.files = Files()
        self.journal_thread = FileThread("journal", reactor.callFromThread)
        self.writer = FileThread("files", reactor.callFromThread)
        self.reader = FileThread("reader", reactor.callFromThread)
        self.journal = Journal(
            state.journal,
            self.files,
            self.journal_thread,
            later=self._soon,
            on_failure=failed,
            on_full=on_full,
            segment_size=config.journal.segment_size,
            reserve_size=reserve_size(config),
        )
        self.checkpoints = CheckpointWriter(state, self.files, self.writer)
        self.job_writer = JobWriter(state, self.files)
        self.job_files = JobFiles(
            state,
            self.files,
            self.writer,
            reactor,
            _not_written,
            config.job_files.delay,
            config.job_files.max_delay,
            self.job_writer.write,
        )
        self.log_files = LogFiles(state, self.files, config.log.cap)
        self.history = History(
            state,
            self.files,
            reader=self.reader,
            writer=self.writer,
            job_files=self.job_files,
            log_files=self.log_files,
        )

    def _soon(self, function: Callable[[], None]) -> None:
        """Calls a function in the next turn; while others are at work a little later, so that their records join."""
        deadline = self._reactor.seconds() + _WORTH_WAITING

        def look() -> None:
            if self._turns.busy and self._reactor.seconds() < deadline:
                self._reactor.callLater(0, look)
            else:
                function()

        self._reactor.callLater(0, look)

    async def stop(self) -> None:
        """Ends the threads after what they were asked to do."""
        self.job_files.stop()
        self.writer.call(self.job_writer.close)
        for thread in (self.journal_thread, self.writer, self.reader):
            await thread.stop()


def reserve_size(config: Config) -> int:
    """@return: bytes of the journal's reserve: at least what the results of all running opcodes may need"""
    return max(config.journal.reserve, (config.workers.size + 1) * 2 * MAX_RESULT_SIZE)


def _not_written(job_id: int, problem: Exception) -> None:
    _log.warn("The file of job {job_id} is behind: {problem}", job_id=job_id, problem=problem)
