"""The whole daemon on one screen: what there is, and who is given what.

What each part does lives in its own package; when it starts and stops is in `service`.
"""

from __future__ import annotations

import pwd
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jqueue.config import Config
from jqueue.daemon.drops import Drops
from jqueue.daemon.housekeeping import Housekeeping
from jqueue.daemon.reactors import Reactor
from jqueue.daemon.removed import RemovedFiles
from jqueue.daemon.storage import Storage
from jqueue.jobs.job import _QueuedJob
from jqueue.opcodes.registry import default_registry
from jqueue.rpc.connection import Limits
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.msgpackrpc import MessagePackFactory
from jqueue.rpc.peer import Roles
from jqueue.rpc.qmp.server import QmpFactory, QmpLimits
from jqueue.sched import snapshot
from jqueue.sched.checkpointing import Checkpointing
from jqueue.sched.execution import Execution
from jqueue.sched.lifecycles import Lifecycles
from jqueue.sched.outside import Outside
from jqueue.sched.queue import JobQueue
from jqueue.store.control import Control
from jqueue.store.incoming import Incoming
from jqueue.store.jobwatch import JobWatch
from jqueue.store.statedir import StateDirectory
from jqueue.turns import Turns
from jqueue.watch import DirectoryWatch
from jqueue.workers.context import Context
from jqueue.workers.mailbox import Mailbox
from jqueue.workers.pool import ThreadWorkers


class Tree:
    """The parts of one daemon; making them reads and opens nothing, and starts only idle threads."""

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        runtime_dir: Path,
        reactor: Reactor,
        failed: Callable[[BaseException], None],
        quit_asked: Callable[[], None],
    ) -> None:
        """Puts a daemon together.

        @param runtime_dir: where the sockets go
        @param failed: told that the disk failed in a way that must not be retried
        @param quit_asked: told when the QMP command `quit` was answered
        """
        self.config = config
        self.state = state
        self.runtime_dir = runtime_dir
        self.reactor = reactor
        self.turns = Turns(reactor)
        self.mailbox = Mailbox(reactor.callFromThread)
        self.workers = ThreadWorkers(self.mailbox, config.workers.size)
        self.storage = storage = Storage(config, state, reactor, self.turns, failed, self._disk_full)
        self.watch = DirectoryWatch(reactor)
        self.control = Control(
            state, storage.files, storage.writer, self.watch, reactor, self._drained, config.incoming.rescan
        )
        self.queue = JobQueue(config, default_registry(config.opcodes.modules), self._outside())
        self.incoming = Incoming(
            state,
            storage.files,
            (storage.reader, storage.writer),
            self.watch,
            reactor,
            Drops(self.queue, storage.reader, config.queue.max_job_size),
            rescan=config.incoming.rescan,
            settle=config.incoming.settle,
            max_bytes=config.queue.max_job_size,
        )
        self.checkpointing = self._make_checkpointing(failed)
        self.housekeeping = Housekeeping(
            config,
            self.queue,
            clock=reactor,
            turns=self.turns,
            wall=time.time,
            journal=storage.journal,
            checkpointing=self.checkpointing,
            incoming=self.incoming,
            history=storage.history,
        )
        self.removed_files = RemovedFiles(self.queue, storage.history, reactor)
        self.job_watch = JobWatch(state, self.watch, self.removed_files.gone)
        self.factory = MessagePackFactory(reactor, self.turns, Dispatcher(self.queue), _roles(config), _limits(config))
        self.lifecycles = Lifecycles(self.queue, reactor)
        self.qmp = self._make_qmp(quit_asked)

    def _make_checkpointing(self, failed: Callable[[BaseException], None]) -> Checkpointing:
        return Checkpointing(
            clock=self.reactor,
            journal=self.storage.journal,
            writer=self.storage.checkpoints,
            flush=self.storage.history.flush,
            chunks=self._chunks,
            after=self.config.journal.checkpoint_after,
            failed=failed,
        )

    def _make_qmp(self, quit_asked: Callable[[], None]) -> QmpFactory:
        limits = _limits(self.config)
        return QmpFactory(
            self.reactor,
            self.turns,
            self.lifecycles,
            _roles(self.config),
            wall=time.time,
            stop=quit_asked,
            limits=QmpLimits(message=limits.message, connections=limits.connections),
        )

    def _outside(self) -> Outside:
        return Outside(
            clock=self.reactor,
            turns=self.turns,
            wall=time.time,
            journal=self.storage.journal,
            job_files=self.storage.job_files,
            history=self.storage.history,
            workers=self.workers,
            drain=self.control,
            make_context=self._make_context,
            post=self.mailbox.post,
        )

    def _chunks(self) -> Iterator[bytes]:
        queue = self.queue
        return snapshot.chunks(queue.table, queue.requests, queue.identities, queue.submission.last_id)

    def _make_context(self, execution: Execution, job: _QueuedJob) -> Context:
        index, attempt = execution.index, execution.attempt
        return Context(
            job_id=job.id,
            op_index=index,
            attempt=attempt,
            saved=job.ops[index].saved or {},
            dry_run=execution.opcode.dry_run,
            run_directory=lambda: self.state.run_directory(execution.job_id, index, attempt),
            control=execution.control,
            desk=execution,
            mailbox=self.mailbox,
            command_user=self.config.command.run_as,
            kill_after=self.config.command.kill_after,
            converges=execution.opcode.converges(),
        )

    def _disk_full(self, full: bool) -> None:
        self.housekeeping.disk_full(full)
        if not full:
            self.removed_files.retry()

    def _drained(self, reason: str | None) -> None:
        self.housekeeping.drained(reason)


def _roles(config: Config) -> Roles:
    run_as = pwd.getpwnam(config.command.run_as).pw_uid if config.command.run_as else None
    return Roles(config.roles.admins, config.roles.operators, config.roles.readers, run_as)


def _limits(config: Config) -> Limits:
    # There must be descriptors left for the daemon's own files and its commands.
    connections = min(config.rpc.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    return Limits(message=config.rpc.max_message, connections=connections)
