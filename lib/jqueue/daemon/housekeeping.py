"""What the daemon does from time to time: archiving by age and number, checkpoints, expiry, looking for disk space.

Also what follows when the disk fills, or the queue is drained.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jqueue.config import Config
from jqueue.sched.checkpointing import Checkpointing
from jqueue.sched.outside import History
from jqueue.sched.queue import JobQueue
from jqueue.store.incoming import Incoming
from jqueue.store.interface import RecordJournal
from jqueue.turns import Turns

_EVERY = 5.0
_EXPIRE_EVERY = 60.0
_ARCHIVE_SECONDS = 20.0
_CLOCK_JUMP = 3600.0


class Housekeeping:
    """The daemon's regular work, a little at a time."""

    log = Logger()

    def __init__(
        self,
        config: Config,
        queue: JobQueue,
        *,
        clock: IReactorTime,
        turns: Turns,
        wall: Callable[[], float],
        journal: RecordJournal,
        checkpointing: Checkpointing,
        incoming: Incoming,
        history: History,
    ) -> None:
        """Makes it; nothing happens before `start`.

        @param wall: wall time in seconds
        """
        self._config = config
        self._queue = queue
        self._clock = clock
        self._turns = turns
        self._wall = wall
        self._journal = journal
        self._checkpointing = checkpointing
        self._incoming = incoming
        self._history = history
        self._timer: IDelayedCall | None = None
        self._expired_at = (clock.seconds(), wall())
        self._archiving = False

    def start(self) -> None:
        """Begins."""
        self._timer = self._clock.callLater(_EVERY, self._turn)

    def stop(self) -> None:
        """Ends."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _turn(self) -> None:
        self._timer = self._clock.callLater(_EVERY, self._turn)
        if self._journal.full:
            self._journal.retry_space()
        self._history.retry().addErrback(lambda failure: self.log.failure("Files could not be archived", failure))
        self._checkpointing.look()
        elapsed = self._clock.seconds() - self._expired_at[0]
        if elapsed >= _EXPIRE_EVERY:
            jumped = abs(self._wall() - self._expired_at[1] - elapsed)
            self._expired_at = (self._clock.seconds(), self._wall())
            if jumped > _CLOCK_JUMP:
                self.log.warn("The clock jumped by {jumped:.0f} s; nothing expires in this minute", jumped=jumped)
            else:
                self._expire()

    def _expire(self) -> None:
        table = self._queue.table
        self._turns.add(self._queue.requests.expire(self._wall(), lambda job_id: job_id in table.unfinished))
        if not self._archiving and not self._journal.full:
            self._archiving = True
            Deferred.fromCoroutine(self._archive()).addErrback(
                lambda failure: self.log.failure("Old jobs could not be archived", failure)
            ).addBoth(self._archived)

    async def _archive(self) -> None:
        await self._queue.archiving.auto_archive(self._config.queue.archive_after, _ARCHIVE_SECONDS)
        finished = self._queue.table.finished
        too_many = len(finished) - self._config.queue.max_finished
        if too_many > 0:
            await self._queue.archiving.archive(sorted(finished)[:too_many])

    def _archived(self, _result: object) -> None:
        self._archiving = False

    # What others notice

    def disk_full(self, full: bool) -> None:
        """Goes on after the disk was full."""
        if full:
            self.log.error("The disk is full: new jobs are refused and nothing is started until there is space again")
        else:
            self.log.info("There is disk space again")
            self._queue.processor.look()
            self._incoming.retry()

    def drained(self, reason: str | None) -> None:
        """Takes note of `control/drained`."""
        if reason is None:
            self.log.info("The queue takes new jobs")
            self._incoming.retry()
        else:
            self.log.info("The queue is drained: {reason}", reason=reason or "no reason given")
