"""When the parts of the daemon start and stop, in which order, and what happens to running opcodes meanwhile."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from jqueue import __version__
from jqueue.daemon.systemd import Notifier, Watchdog
from jqueue.daemon.tree import Tree
from jqueue.rpc.listen import listen_unix
from jqueue.sched import recovery, snapshot
from jqueue.store.checkpoint import read_latest
from jqueue.store.replay import replay
from jqueue.workers.command import kill_leftover
from jqueue.workers.control import SHUTDOWN

SOCKET = "rpc.sock"
QMP_SOCKET = "qmp.sock"

_LAST_WORDS = 10.0  # seconds for code that was told to stop, beyond the time that commands get between TERM and KILL
_RECOVERY = 600.0  # seconds that systemd is asked to wait for a large queue
_NOW = 2.0  # the same at a second SIGTERM
_WORTH_A_CHECKPOINT = 1 << 20


class DaemonService:
    """The daemon's life: `start`, then `stop` once, then perhaps `hurry`."""

    log = Logger()

    def __init__(self, tree: Tree, notifier: Notifier) -> None:
        self._tree = tree
        self._notifier = notifier
        self._ports: list[IListeningPort] = []
        self._tidied: Deferred[None] = succeed(None)
        self._hurry = False
        self._recovered_from = 0
        self._watchdog = Watchdog(notifier, tree.reactor)

    # Starting

    async def start(self) -> None:
        """Recovers the queue, then listens, then works.

        @raise GenericError: the state directory, the journal or the socket cannot be used; the text says why
        """
        started = time.monotonic()
        tree = self._tree
        self._notifier.status("recovering")
        self._notifier.extend_timeout(_RECOVERY)
        state = self._read()
        recovery.restore(tree.queue, state, time.time())
        await tree.storage.journal.open(self._next_sequence)
        await tree.storage.journal.prepared()
        tree.checkpointing.start(self._recovered_from + 1)
        await tree.storage.writer.call(self._end_leftovers)
        await recovery.settle(tree.queue, state, tree.storage.history, tree.storage.job_files, time.time())
        await tree.control.start()
        if tree.queue.stopping:
            return
        rpc = tree.config.rpc
        sockets: tuple[tuple[str, Factory[Any]], ...] = ((SOCKET, tree.factory), (QMP_SOCKET, tree.qmp))
        for name, factory in sockets:
            path = tree.runtime_dir / name
            self._ports.append(listen_unix(tree.reactor, path, factory, rpc.socket_mode, rpc.socket_group))
        tree.queue.processor.start()
        tree.job_watch.start()
        tree.incoming.start()
        tree.housekeeping.start()
        self._watchdog.startService()
        counts = ", ".join(f"{count} {status}" for status, count in tree.queue.table.counts.items() if count)
        self.log.info(
            "jqueued {version} is ready after {seconds:.2f} s: {jobs}; state in {state}, socket {socket}",
            version=__version__,
            seconds=time.monotonic() - started,
            jobs=counts or "no jobs",
            state=str(tree.state.path),
            socket=str(tree.runtime_dir / SOCKET),
        )
        self._notifier.ready(counts or "no jobs")
        self._tidied = Deferred.fromCoroutine(self._tidy()).addErrback(
            lambda failure: self.log.failure("What an earlier daemon left could not be tidied up", failure)
        )

    def give_up(self) -> None:
        """Has a start that is still recovering end before anything listens or runs; then `stop` is due."""
        self._tree.queue.stopping = True

    def _read(self) -> snapshot.Recovered:
        tree = self._tree
        self._recovered_from, chunks = read_latest(tree.state.journal, tree.storage.files)
        self._next_sequence = self._recovered_from + 1

        def records() -> Iterator[tuple[int, bytes]]:
            for sequence, record in replay(tree.state.journal, tree.storage.files, self._recovered_from):
                self._next_sequence = sequence + 1
                yield sequence, record

        return snapshot.recover(tree.queue.host, chunks, records())

    def _end_leftovers(self) -> None:
        # Before their locks are free: what a dead daemon's commands were doing must have stopped.
        for name in self._tree.storage.files.listdir(self._tree.state.run):
            directory: Path = self._tree.state.run / name
            if kill_leftover(directory):
                self.log.warn("A command of an earlier daemon was still running and has been ended: {name}", name=name)
            shutil.rmtree(directory, ignore_errors=True)

    async def _tidy(self) -> None:
        await self._forget_removed_drops()
        await recovery.rewrite_missing(self._tree.queue, self._tree.storage.job_files, self._tree.reactor)

    async def _forget_removed_drops(self) -> None:
        identities = sorted(self._tree.queue.identities)
        if identities:
            gone = await self._tree.incoming.gone(identities)
            if gone:
                self._tree.queue.drops_removed(gone)

    # Stopping

    async def stop(self) -> None:
        """Stops as SIGTERM asks for: starts nothing, lets running opcodes end, then leaves everything durable."""
        tree = self._tree
        self._notifier.stopping("waiting for running opcodes")
        if not tree.queue.stopping:  # otherwise `quit` has told it
            tree.lifecycles.stop_on_signal()
        tree.queue.stopping = True
        tree.queue.processor.stop()
        tree.incoming.stop()
        tree.housekeeping.stop()
        await self._end_code()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        for client in list(tree.factory.clients):
            client.disconnect()
        tree.qmp.close()
        if not self._hurry and tree.storage.journal.bytes_since(0) > _WORTH_A_CHECKPOINT:
            await tree.checkpointing.take()
        await self._tidied
        await tree.storage.journal.close()
        await tree.storage.job_files.flush()  # after the journal, whose last records are published now
        await tree.storage.writer.call(tree.storage.log_files.close)
        await self.abandon()

    async def abandon(self) -> None:
        """Ends what has been started, without a word to the disk."""
        tree = self._tree
        tree.control.stop()
        tree.watch.stop()
        self._watchdog.stopService()
        await tree.storage.stop()
        tree.workers.stop(0)
        self._notifier.close()

    def hurry(self) -> None:
        """Stops at once: a second SIGTERM."""
        self._hurry = True
        self._tree.queue.processor.stop(callbacks_too=True)
        self._stop_code(everything=True)

    async def _end_code(self) -> None:
        """Lets running code end; what is still to be committed or undone then is left to the next start."""
        await self._end_opcodes()
        self._tree.queue.processor.stop(callbacks_too=True)

    async def _end_opcodes(self) -> None:
        tree = self._tree
        self._stop_code(everything=self._hurry)
        if await self._idle(0 if self._hurry else tree.config.stop.grace):
            return
        self._stop_code(everything=True)
        if not await self._idle(_NOW if self._hurry else tree.config.command.kill_after + _LAST_WORDS):
            left = ", ".join(map(str, sorted(tree.queue.processor.executions)))
            self.log.error("Opcodes of jobs {left} do not stop; the next start will call them failed", left=left)

    def _stop_code(self, *, everything: bool) -> None:
        for execution in list(self._tree.queue.processor.executions.values()):
            if everything or execution.opcode.restartable:
                execution.control.stop(SHUTDOWN, kill=self._hurry)

    async def _idle(self, seconds: float) -> bool:
        """@return: whether no code runs any more; waits for it, but not if told to hurry meanwhile"""
        deadline = self._tree.reactor.seconds() + seconds
        processor = self._tree.queue.processor
        while processor.busy():
            left = min(deadline - self._tree.reactor.seconds(), 0.2 if processor.executions else 0.02)
            if left <= 0 or (self._hurry and seconds > _NOW):
                return False
            idle = processor.when_idle() if processor.executions else Deferred[None]()
            try:
                await idle.addTimeout(left, self._tree.reactor)
            except TimeoutError:
                continue
        return True
