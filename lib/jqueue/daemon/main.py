"""`jqueued`: its options, its signals, its exit status; what it does is in `service`, what it is made of in `tree`."""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue import __version__, config
from jqueue.daemon import logs
from jqueue.daemon.reactors import Reactor
from jqueue.daemon.service import DaemonService
from jqueue.daemon.systemd import Notifier
from jqueue.daemon.tree import Tree
from jqueue.directories import default_runtime_dir, default_state_dir
from jqueue.errors import GenericError, StateError
from jqueue.opcodes.registry import default_registry
from jqueue.store.files import Files
from jqueue.store.statedir import DirectoryLock, StateDirectory

_SWITCH_INTERVAL = 0.0005
"""Seconds until a thread has to give up the interpreter; by default workers wait ten times as long for the reactor."""

_GARBAGE = (20_000, 20, 50)
"""Objects made until garbage is looked for, in each generation: by default it takes a tenth of a busy daemon's time."""

_log = Logger()


def parser() -> argparse.ArgumentParser:
    """The options of jqueued."""
    made = argparse.ArgumentParser(
        prog="jqueued",
        description="The daemon of jqueue: a durable queue of operations in one directory. It stays in the foreground"
        " and logs to stderr; SIGTERM stops it gracefully, a second one at once.",
    )
    made.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration, YAML (default: none is needed)")
    made.add_argument("--state-dir", type=Path, metavar="DIR", help="the queue's directory, made if it is missing")
    made.add_argument("--runtime-dir", type=Path, metavar="DIR", help="where the sockets go")
    made.add_argument("--check-config", action="store_true", help="check the configuration and exit")
    made.add_argument("--version", action="version", version=f"jqueued {__version__}")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the daemon.

    @return: its exit status
    """
    options = parser().parse_args(argv)
    try:
        settings = config.load(options.config)
        if options.check_config:
            default_registry(settings.opcodes.modules)
            return 0
        logs.start(settings.daemon.log_format, settings.daemon.log_level)
        return _run(settings, options)
    except GenericError as problem:
        print(f"jqueued: {problem}", file=sys.stderr)
        return problem.exit_status


def entry() -> None:
    """Runs the daemon as a program."""
    sys.exit(main())


def _run(settings: config.Config, options: argparse.Namespace) -> int:
    from twisted.internet import reactor as installed

    reactor = cast(Reactor, installed)
    state = StateDirectory((options.state_dir or default_state_dir()).absolute())
    files = Files()
    state.prepare(files)
    lock = DirectoryLock(state)
    lock.acquire()
    try:
        state.clean(files)
        runtime_dir = (options.runtime_dir or default_runtime_dir(state.path)).absolute()
        _make_runtime_dir(runtime_dir)
        _raise_limits()
        return _Main(settings, state, runtime_dir, reactor).run()
    finally:
        lock.release()


def _make_runtime_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the runtime directory {path} cannot be made: {error.strerror}; name another") from error


def _raise_limits() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(_SWITCH_INTERVAL)
    os.umask(0o027)


class _Main:
    """One run of the daemon: from the reactor's start to its end."""

    def __init__(self, settings: config.Config, state: StateDirectory, runtime_dir: Path, reactor: Reactor) -> None:
        self._reactor = reactor
        self._status = 0
        self._started_up = False
        self._stopping = False
        self._service = DaemonService(
            Tree(settings, state, runtime_dir, reactor, self._failed, self._quit), Notifier.from_environment(os.environ)
        )

    def run(self) -> int:
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run()
        return self._status

    def _begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        Deferred.fromCoroutine(self._service.start()).addCallbacks(self._started, self._not_started)

    def _started(self, _result: None) -> None:
        self._started_up = True
        if self._stopping:
            self._finish(self._service.stop())
            return
        # What has been recovered stays; a full collection over it would stop the reactor for long.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GARBAGE)

    def _not_started(self, failure: Failure) -> None:
        problem = failure.value
        if isinstance(problem, GenericError):
            print(f"jqueued: {problem}", file=sys.stderr)
            self._status = problem.exit_status
        else:
            _log.failure("The daemon could not be started", failure)
            self._status = 1
        self._stopping = True
        self._finish(self._service.abandon())

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        # Signal handlers only pass on that there was a signal.
        self._reactor.callFromThread(self._stop, number)

    def _stop(self, number: int) -> None:
        if self._stopping:
            self._service.hurry()
            return
        self._stopping = True
        _log.info("Stopping on {signal}", signal=signal.Signals(number).name)
        if self._started_up:
            self._finish(self._service.stop())
        else:
            self._service.give_up()

    def _quit(self) -> None:
        if not self._stopping:
            self._stopping = True
            _log.info("Stopping on quit: every job has been cancelled")
            self._finish(self._service.stop())

    def _failed(self, problem: BaseException) -> None:
        _log.critical("{problem}", problem=problem)
        self._status = 1
        # Nothing may be written any more, so nothing can be ended properly: the next start will see to it.
        self._service.hurry()
        self._reactor.callLater(1.0, os._exit, 1)

    def _finish(self, stopped: Coroutine[Deferred[Any], Any, None]) -> None:
        Deferred.fromCoroutine(stopped).addErrback(
            lambda failure: _log.failure("The daemon did not stop cleanly", failure)
        ).addBoth(lambda _: self._reactor.stop())


if __name__ == "__main__":
    entry()
