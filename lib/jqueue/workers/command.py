"""Runs one command on a worker thread: its output becomes log lines, requests to stop or pause reach its whole group.

Its run directory tells everything about it, so that another daemon can find and end it:
`process` (who it is), `output` (what it wrote), `exit` (how it ended), `stdin`.
Process groups themselves are the business of `jqueue.workers.process`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jqueue.errors import JobCanceled, OpExecError
from jqueue.workers import process as processes
from jqueue.workers.output import READ_AT_ONCE, Output

_LOOK_SOON = 0.05
_LOOK_LATER = 0.5
_LEFTOVER_SECONDS = 10.0
_MOST_UNREAD = 64 << 20
"""Bytes of output that may wait to become log lines."""


class Control(Protocol):
    """What the queue asks of the running command."""

    def fileno(self) -> int:
        """Gives a descriptor that is readable when anything is asked."""
        ...

    def clear(self) -> None:
        """Makes the descriptor unreadable until the next request."""
        ...

    @property
    def stop_requested(self) -> bool:
        """Whether the command is to end."""
        ...

    @property
    def kill_now(self) -> bool:
        """Whether it gets no time to end by itself."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it is to stand still."""
        ...

    def wait_pause(self) -> None:
        """Stays here while it is to stand still; a stop request ends that."""
        ...


def run_command(
    argv: Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    stdin: str | None,
    run_directory: Path,
    user: str | None,
    control: Control,
    log: Callable[[str], None],
    kill_after: float = 5.0,
) -> int:
    """Runs a command to its end; when this returns, nothing of its process group is left.

    @param argv: the program, found by the environment's PATH, and its arguments; no shell looks at them
    @param cwd: where it starts; the root directory without one
    @param env: variables beside PATH, HOME and LANG
    @param stdin: text it reads; nothing without it
    @param run_directory: made if need be; a second command in the same one goes on with the same output file
    @param user: who it runs as; the daemon's own user without one
    @param log: takes each line of output
    @param kill_after: seconds between TERM and KILL
    @return: its exit status, `-N` when signal N ended it
    @raise JobCanceled: it was told to stop
    @raise OpExecError: it cannot be started
    """
    run_directory = run_directory.absolute()
    run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = Output(run_directory / "output", log)
    try:
        running = _start(argv, cwd, env or {}, stdin, run_directory, user, output.descriptor)
        supervision = _Supervision(running, output, control, kill_after)
        try:
            supervision.watch()
        finally:
            _end_group(running)
        output.finish(everything=not supervision.stopped)
        processes.write_record(run_directory / "exit", {"status": running.returncode, "time": time.time()})
    finally:
        output.close()
    if supervision.stopped:
        raise JobCanceled()
    return running.returncode


def kill_leftover(run_directory: Path) -> bool:
    """Ends what is left of a command that an earlier daemon ran.

    @param run_directory: the command's
    @return: whether something was left, and is gone now
    @raise OpExecError: it does not end
    """
    run_directory = run_directory.absolute()
    who = processes.read_record(run_directory / "process")
    if who is None or (run_directory / "exit").exists() or who.get("boot_id") != processes.boot_id():
        return False
    groups = _groups_of(who, run_directory) - {os.getpgrp()}
    for group in groups:
        processes.signal_group(group, signal.SIGKILL)
    for group in groups:
        if not processes.wait_gone(group, _LEFTOVER_SECONDS):
            raise OpExecError(
                f"The process group {group} of {run_directory} does not end; end it, then start jqueued again"
            )
    return bool(groups)


def _groups_of(who: Mapping[str, object], run_directory: Path) -> set[int]:
    """Finds the groups of a command, as recorded, or by its environment if the daemon died while it started it."""
    pid = who.get("pid")
    groups = set()
    for process in processes.all_processes():
        if process.zombie or (isinstance(pid, int) and process.group != pid):
            continue
        leader = process.pid == pid and process.start_time == who.get("start_time")
        if leader or processes.is_of_run(process.pid, run_directory):
            groups.add(process.group)
    return groups


def _start(
    argv: Sequence[str],
    cwd: str | None,
    env: Mapping[str, str],
    stdin: str | None,
    run_directory: Path,
    user: str | None,
    output: int,
) -> subprocess.Popen[bytes]:
    """Starts the command, and records it before and after, so that no crash in between leaves it unknown."""
    who: dict[str, object] = {"boot_id": processes.boot_id(), "argv": list(argv)}
    (run_directory / "exit").unlink(missing_ok=True)
    processes.write_record(run_directory / "process", who)
    given = _open_input(run_directory / "stdin", stdin)
    try:
        account = processes.Account.of(user)
        environment = processes.clean_environment(env, account, run_directory)
        running = processes.start(argv, cwd=cwd, env=environment, account=account, stdin=given, output=output)
    except OpExecError as error:
        processes.write_record(run_directory / "exit", {"status": None, "error": error.text})
        raise
    finally:
        os.close(given)
    try:
        info = processes.look_up(running.pid)
        who.update(pid=running.pid, pgid=running.pid, start_time=info.start_time if info else None)
        processes.write_record(run_directory / "process", who)
    except BaseException:
        _end_group(running)
        raise
    return running


def _open_input(path: Path, text: str | None) -> int:
    if text is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    path.write_text(text, encoding="utf-8", newline="")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _end_group(running: subprocess.Popen[bytes]) -> None:
    # Until its leader is reaped the number of the group cannot be given to another one.
    processes.signal_group(running.pid, signal.SIGKILL)
    running.wait()
    processes.wait_gone(running.pid)


class _Supervision:
    """Watches one running command until its leader has ended."""

    def __init__(self, running: subprocess.Popen[bytes], output: Output, control: Control, kill_after: float) -> None:
        self._group = running.pid
        self._output = output
        self._control = control
        self._kill_after = kill_after
        self._kill_at: float | None = None
        self._held = False
        self.stopped = False
        """Whether it was told to end."""

    def watch(self) -> None:
        """Obeys and reads until the leader is dead; it is left unreaped."""
        leader = os.pidfd_open(self._group)
        try:
            events = select.poll()
            events.register(leader, select.POLLIN)
            events.register(self._control.fileno(), select.POLLIN)
            wait = _LOOK_SOON
            ended = False
            while not ended:
                self._obey()
                ended = any(descriptor == leader for descriptor, _ in events.poll(self._milliseconds(wait)))
                self._control.clear()
                taken = self._output.read()
                self._hold_back()
                if taken >= READ_AT_ONCE:
                    wait = 0.0
                else:
                    wait = _LOOK_SOON if taken else min(max(wait, _LOOK_SOON) * 2, _LOOK_LATER)
        finally:
            os.close(leader)

    def _milliseconds(self, wait: float) -> int:
        if self._kill_at is not None:
            wait = min(wait, max(self._kill_at - time.monotonic(), 0.0))
        return int(wait * 1000) + 1

    def _obey(self) -> None:
        if self._control.stop_requested:
            self._stop()
        elif self._control.paused:
            processes.signal_group(self._group, signal.SIGSTOP)
            self._output.read()
            self._control.wait_pause()
            self._go_on()
            if self._control.stop_requested:
                self._stop()

    def _hold_back(self) -> None:
        """Lets a command stand still that writes faster than lines can be logged: it would fill the disk."""
        unread = self._output.unread
        if unread > _MOST_UNREAD and not self._held and not self.stopped:
            self._held = True
            processes.signal_group(self._group, signal.SIGSTOP)
        elif unread < _MOST_UNREAD // 2 and self._held:
            self._go_on()

    def _go_on(self) -> None:
        self._held = False
        processes.signal_group(self._group, signal.SIGCONT)

    def _stop(self) -> None:
        now = time.monotonic()
        if self._control.kill_now or (self._kill_at is not None and now >= self._kill_at):
            processes.signal_group(self._group, signal.SIGKILL)
            self._kill_at = now + self._kill_after
        elif not self.stopped:
            processes.signal_group(self._group, signal.SIGTERM)
            # One that stands still would never see it.
            self._go_on()
            self._kill_at = now + self._kill_after
        self.stopped = True
