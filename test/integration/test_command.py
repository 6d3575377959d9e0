"""Real commands under `run_command`; requests are made from inside the run, so that no test depends on timing."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError
from jqueue.workers import process
from jqueue.workers.command import run_command


class Requests:
    """A `Control` that a test sets from the callback of a log line."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.stop_requested = False
        self.kill_now = False
        self.paused = False
        self.while_paused: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        return self._descriptor

    def clear(self) -> None:
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return

    def wait_pause(self) -> None:
        self.while_paused()
        self.paused = False

    def stop(self, kill: bool = False) -> None:
        self.stop_requested, self.kill_now = True, kill
        os.eventfd_write(self._descriptor, 1)

    def pause(self) -> None:
        self.paused = True
        os.eventfd_write(self._descriptor, 1)

    def close(self) -> None:
        os.close(self._descriptor)


class Runner:
    def __init__(self, directory: Path, control: Requests) -> None:
        self.directory = directory
        self.control = control
        self.lines: list[str] = []
        self.on_line: dict[str, Callable[[], None]] = {}
        self.on_pids: dict[int, Callable[[], None]] = {}

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.lines if line.isdecimal()]

    def log(self, line: str) -> None:
        self.lines.append(line)
        if line in self.on_line:
            self.on_line[line]()
        if line.isdecimal():
            self.on_pids.get(len(self.pids), lambda: None)()

    def run(
        self,
        *argv: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        user: str | None = None,
        kill_after: float = 60.0,
    ) -> int:
        return run_command(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            run_directory=self.directory,
            user=user,
            control=self.control,
            log=self.log,
            kill_after=kill_after,
        )

    def record(self, name: str) -> dict[str, object]:
        record = json.loads((self.directory / name).read_text())
        assert isinstance(record, dict)
        return record


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    control = Requests()
    yield Runner(tmp_path / "run" / "42.0.1", control)
    control.close()


def alive(pid: int) -> bool:
    found = process.look_up(pid)
    return found is not None and not found.zombie


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_output_and_errors_become_lines_in_the_order_written(runner: Runner) -> None:
    assert runner.run("sh", "-c", "echo one; echo two >&2; printf '\\377\\rfour'") == 0
    assert runner.lines == ["one", "two", "\\xff", "four"]


def test_the_exit_status_is_returned_and_recorded(runner: Runner) -> None:
    assert runner.run("sh", "-c", "exit 3") == 3
    assert runner.record("exit")["status"] == 3


def test_a_signal_is_a_negative_status(runner: Runner) -> None:
    assert runner.run("sh", "-c", "kill -9 $$") == -9


def test_no_shell_looks_at_the_arguments(runner: Runner) -> None:
    runner.run("echo", "$HOME; *")
    assert runner.lines == ["$HOME; *"]


def test_it_gets_its_input_from_text_or_nothing(runner: Runner) -> None:
    runner.run("cat", stdin="one\r\ntwo")
    runner.run("cat")
    assert runner.lines == ["one", "two"]


def test_the_environment_is_clean(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "SECRET"):
        monkeypatch.setenv(name, "x")
    runner.run("/usr/bin/env", env={"GIVEN": "a b"})
    variables = dict(line.split("=", 1) for line in runner.lines)
    assert variables.keys() <= {"PATH", "HOME", "LANG", "GIVEN", "JQUEUE_RUN_DIRECTORY"}
    assert variables["GIVEN"] == "a b"
    assert variables["JQUEUE_RUN_DIRECTORY"] == str(runner.directory)


def test_it_starts_in_the_given_directory_or_in_the_root(runner: Runner, tmp_path: Path) -> None:
    runner.run("pwd", "-P", cwd=str(tmp_path))
    runner.run("pwd", "-P")
    assert runner.lines == [str(tmp_path.resolve()), "/"]


def test_it_inherits_no_descriptor(runner: Runner) -> None:
    inherited = 200  # far from what the shell opens itself
    with open(os.devnull) as file:
        os.dup2(file.fileno(), inherited, inheritable=True)
    try:
        runner.run("sh", "-c", "echo /proc/$$/fd/*")
    finally:
        os.close(inherited)
    names = [os.path.basename(path) for path in runner.lines[0].split()]
    assert names[:3] == ["0", "1", "2"]
    assert str(inherited) not in names


def test_it_leads_a_session_and_a_group_of_its_own(runner: Runner) -> None:
    runner.run("sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat")
    assert len(set(runner.lines[0].split())) == 1


def test_the_run_directory_tells_who_it_is(runner: Runner) -> None:
    runner.on_line["ready"] = lambda: seen.update(runner.record("process"))
    seen: dict[str, object] = {}
    runner.run("sh", "-c", "echo ready; cut -d' ' -f1,22 /proc/$$/stat")
    pid, start_time = map(int, runner.lines[1].split())
    assert seen == {
        "boot_id": process.boot_id(),
        "argv": ["sh", "-c", "echo ready; cut -d' ' -f1,22 /proc/$$/stat"],
        "pid": pid,
        "pgid": pid,
        "start_time": start_time,
    }
    assert stat.S_IMODE(runner.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((runner.directory / "output").stat().st_mode) == 0o600


def test_a_second_command_in_the_same_directory_logs_only_its_own_output(runner: Runner) -> None:
    runner.run("echo", "one")
    runner.run("echo", "two")
    assert runner.lines == ["one", "two"]
    assert (runner.directory / "output").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "text"),
    [
        (["no-such-program"], None, "The command no-such-program cannot be started: No such file or directory"),
        (["true"], "/no/such/directory", "/no/such/directory"),
        (["/"], None, "Permission denied"),
        (["true", "x" * (1 << 22)], None, "Argument list too long"),
    ],
)
def test_one_that_cannot_start_says_why(runner: Runner, argv: list[str], cwd: str | None, text: str) -> None:
    with pytest.raises(OpExecError, match=text):
        runner.run(*argv, cwd=cwd)
    assert runner.record("exit")["status"] is None


def test_it_runs_as_the_given_user(runner: Runner) -> None:
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    runner.run("sh", "-c", "id -u; id -g; echo $HOME", user=user)
    entry = pwd.getpwnam(user)
    home = entry.pw_dir if os.geteuid() == 0 else os.environ.get("HOME", "")
    assert runner.lines == [str(entry.pw_uid), str(entry.pw_gid), home]


def test_a_user_that_does_not_exist_is_named(runner: Runner) -> None:
    with pytest.raises(OpExecError, match="no-such-user"):
        runner.run("true", user="no-such-user")


def test_a_cancel_lets_it_end_by_itself_and_still_is_one(runner: Runner) -> None:
    runner.on_line["ready"] = runner.control.stop
    with pytest.raises(JobCanceled):
        runner.run("sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait")
    assert runner.lines == ["ready", "bye"]
    assert runner.record("exit")["status"] == 0


STUBBORN = """
trap '' TERM
sh -c 'trap "" TERM; sh -c "echo \\$\\$; exec sleep 1000" & echo $$; wait' &
echo $$
wait
"""


@pytest.mark.parametrize("kill", [False, True])
def test_a_shell_that_ignores_the_signal_is_gone_with_its_grandchildren(runner: Runner, kill: bool) -> None:
    runner.on_pids[3] = lambda: runner.control.stop(kill)
    with pytest.raises(JobCanceled):
        runner.run("sh", "-c", STUBBORN, kill_after=60.0 if kill else 0.1)
    assert len(runner.pids) == 3
    assert not any(map(alive, runner.pids))
    assert runner.record("exit")["status"] == -9


def test_a_kill_may_follow_a_cancel(runner: Runner) -> None:
    runner.on_line["ready"] = runner.control.stop
    runner.on_line["asked"] = lambda: runner.control.stop(kill=True)
    with pytest.raises(JobCanceled):
        runner.run("sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")


def test_what_the_leader_leaves_behind_ends_with_it(runner: Runner) -> None:
    assert runner.run("sh", "-c", "sleep 1000 & echo $!") == 0
    assert not alive(int(runner.lines[0]))


def test_a_stop_asked_before_the_start_ends_it(runner: Runner) -> None:
    runner.control.stop()
    with pytest.raises(JobCanceled):
        runner.run("sleep", "1000")


def test_a_pause_stops_the_whole_group_until_it_goes_on(runner: Runner) -> None:
    def until_stopped() -> None:
        while not all(state(pid) == "T" for pid in runner.pids):  # the kernel stops them soon, not at once
            time.sleep(0.001)

    runner.on_line["ready"] = runner.control.pause
    runner.control.while_paused = until_stopped
    assert runner.run("sh", "-c", "sleep 0.3 & echo $!; echo $$; echo ready; wait; echo done") == 0
    assert len(runner.pids) == 2
    assert runner.lines[-1] == "done"


def test_a_cancel_reaches_a_paused_one(runner: Runner) -> None:
    runner.on_line["ready"] = runner.control.pause
    runner.control.while_paused = runner.control.stop
    with pytest.raises(JobCanceled):
        runner.run("sh", "-c", "trap 'echo bye; exit' TERM; echo ready; sleep 1000 & wait")
    assert runner.lines == ["ready", "bye"]


def test_when_its_output_cannot_be_logged_nothing_is_left_running(runner: Runner) -> None:
    def fail() -> None:
        raise OpExecError("no log")

    runner.on_line["ready"] = fail
    with pytest.raises(OpExecError, match="no log"):
        runner.run("sh", "-c", "echo $$; echo ready; sleep 1000")
    assert not alive(int(runner.lines[0]))


def test_one_that_writes_faster_than_lines_are_logged_stands_still_meanwhile(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jqueue.workers.command._MOST_UNREAD", 1 << 20)
    went_on = runner.directory.parent / "went on"
    send, signals = process.signal_group, []

    def signal_group(group: int, number: int) -> None:
        signals.append(number)
        if number == signal.SIGCONT:
            went_on.touch()
        send(group, number)

    monkeypatch.setattr(process, "signal_group", signal_group)
    line = "x" * 1023
    script = f"""
        i=0; while [ $i -lt 4096 ]; do echo {line}; i=$((i+1)); done
        i=0; until [ -e "{went_on}" ] || [ $i -gt 500 ]; do sleep 0.02; i=$((i+1)); done
        [ -e "{went_on}" ]
    """
    assert runner.run("sh", "-c", script) == 0
    assert runner.lines == [line] * 4096
    assert signals[:2] == [signal.SIGSTOP, signal.SIGCONT]


def test_output_without_a_newline_needs_little_memory(runner: Runner) -> None:
    count = 0

    def log(line: str) -> None:
        nonlocal count
        count += len(line)

    tracemalloc.start()
    try:
        run_command(
            ["head", "-c", "50000000", "/dev/zero"],
            cwd=None,
            env=None,
            stdin=None,
            run_directory=runner.directory,
            user=None,
            control=runner.control,
            log=log,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 50_000_000
    assert peak < 4 << 20
