"""The whole daemon on one screen: what there is, and who is given what.

What each part does lives in its own package; when it starts and stops is in `service`.
"""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jqueue.config import Config
from jqueue.daemon.drops import Drops
from jqueue.daemon.housekeeping import Housekeeping
from jqueue.daemon.reactors import Reactor
from jqueue.jobs.job import _QueuedJob
from jqueue.opcodes.registry import default_registry
from jqueue.rpc.dispatch import Dispatcher
from jqueue.rpc.msgpackrpc import Limits, MessagePackFactory
from jqueue.rpc.peer import Roles
from jqueue.sched import snapshot
from jqueue.sched.checkpointing import Checkpointing
from jqueue.sched.execution import Execution
from jqueue.sched.queue import JobQueue, Outside
from jqueue.store.checkpoint import CheckpointWriter
from jqueue.store.control import Control
from jqueue.store.files import Files
from jqueue.store.history import History
from jqueue.store.incoming import Incoming
from jqueue.store.jobfiles import JobFiles
from jqueue.store.jobwatch import JobWatch
from jqueue.store.journal import Journal
from jqueue.store.logfiles import LogFiles
from jqueue.store.statedir import StateDirectory
from jqueue.store.thread import FileThread
from jqueue.watch import DirectoryWatch
from jqueue.workers.context import Context
from jqueue.workers.mailbox import Mailbox
from jqueue.workers.pool import ThreadWorkers


@dataclass
class Tree:
    """The parts of one daemon."""

    config: Config
    state: StateDirectory
    runtime_dir: Path
    files: Files
    reactor: Reactor
    journal_thread: FileThread
    writer: FileThread
    reader: FileThread
    journal: Journal
    job_files: JobFiles
    log_files: LogFiles
    history: History
    checkpointing: Checkpointing
    workers: ThreadWorkers
    watch: DirectoryWatch
    control: Control
    incoming: Incoming
    job_watch: JobWatch
    queue: JobQueue
    housekeeping: Housekeeping
    factory: MessagePackFactory


def build(
    config: Config, state: StateDirectory, runtime_dir: Path, reactor: Reactor, failed: Callable[[BaseException], None]
) -> Tree:
    """Puts a daemon together; nothing is read or opened yet, and only idle threads run.

    @param runtime_dir: where the sockets go
    @param failed: told that the disk failed in a way that must not be retried
    """
    files = Files()
    registry = default_registry(config.opcodes.modules)
    mailbox = Mailbox(reactor.callFromThread)
    journal_thread, writer, reader = (FileThread(n, reactor.callFromThread) for n in ("journal", "files", "reader"))
    journal = Journal(
        state.journal,
        files,
        journal_thread,
        later=lambda function: reactor.callLater(0, function),
        on_failure=failed,
        on_full=lambda full: housekeeping.disk_full(full),
        segment_size=config.journal.segment_size,
        reserve_size=config.journal.reserve,
    )
    job_files = JobFiles(state, files, writer, reactor, _file_not_written, config.job_files.delay)
    log_files = LogFiles(state, files, config.log.cap)
    history = History(state, files, reader=reader, writer=writer, job_files=job_files, log_files=log_files)
    workers = ThreadWorkers(mailbox, config.workers.size)
    watch = DirectoryWatch(reactor)
    control = Control(
        state, files, writer, watch, reactor, lambda reason: housekeeping.drained(reason), config.incoming.rescan
    )

    def make_context(execution: Execution, job: _QueuedJob) -> Context:
        op = job.ops[execution.index]
        return Context(
            job_id=job.id,
            op_index=execution.index,
            attempt=execution.attempt,
            saved=op.saved or {},
            dry_run=execution.opcode.dry_run,
            run_directory=state.run_directory(job.id, execution.index, execution.attempt),
            control=execution.control,
            desk=execution,
            mailbox=mailbox,
            command_user=config.command.run_as,
            kill_after=config.command.kill_after,
        )

    queue = JobQueue(
        config,
        registry,
        Outside(
            clock=reactor,
            wall=time.time,
            journal=journal,
            job_files=job_files,
            history=history,
            workers=workers,
            drain=control,
            make_context=make_context,
            post=mailbox.post,
        ),
    )
    incoming = Incoming(
        state,
        files,
        (reader, writer),
        watch,
        reactor,
        Drops(queue, reader),
        rescan=config.incoming.rescan,
        max_bytes=config.queue.max_job_size,
    )
    checkpointing = Checkpointing(
        clock=reactor,
        journal=journal,
        writer=CheckpointWriter(state, files, writer),
        flush=lambda: job_files.flush().addCallback(lambda _: job_files.sync()),
        chunks=lambda: snapshot.chunks(queue.table, queue.requests, queue.identities, queue.submission.last_id),
        after=config.journal.checkpoint_after,
        failed=failed,
    )
    housekeeping = Housekeeping(
        config, queue, clock=reactor, wall=time.time, journal=journal, checkpointing=checkpointing, incoming=incoming
    )
    run_as = pwd.getpwnam(config.command.run_as).pw_uid if config.command.run_as else None
    roles = Roles(config.roles.admins, config.roles.operators, config.roles.readers, run_as)
    limits = Limits(message=config.rpc.max_message, connections=config.rpc.max_connections)
    return Tree(
        config=config,
        state=state,
        runtime_dir=runtime_dir,
        files=files,
        reactor=reactor,
        journal_thread=journal_thread,
        writer=writer,
        reader=reader,
        journal=journal,
        job_files=job_files,
        log_files=log_files,
        history=history,
        checkpointing=checkpointing,
        workers=workers,
        watch=watch,
        control=control,
        incoming=incoming,
        job_watch=JobWatch(state, watch, housekeeping.job_file_gone),
        queue=queue,
        housekeeping=housekeeping,
        factory=MessagePackFactory(reactor, Dispatcher(queue), roles, limits),
    )


def _file_not_written(job_id: int, problem: Exception) -> None:
    Housekeeping.log.warn("The file of job {job_id} is behind: {problem}", job_id=job_id, problem=problem)
