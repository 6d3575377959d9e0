"""Process groups: starting one, naming it so that a later daemon recognises it, ending it for certain.

A process that leaves its group with `setsid` leaves our care as well. What is done with the output does not live here.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jqueue.errors import OpExecError

RUN_VARIABLE = "JQUEUE_RUN_DIRECTORY"
"""In the environment of every command; by it one is found whose start was not recorded any more."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class ProcessInfo:
    """One line of the process table."""

    pid: int
    zombie: bool
    group: int
    start_time: int
    """Clock ticks since the machine started; with the boot id it makes a pid unique."""


def boot_id() -> str:
    """Gives the name of this run of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def look_up(pid: int) -> ProcessInfo | None:
    """Looks at one process.

    @return: None if there is none
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].split()
    return ProcessInfo(pid, fields[0] in (b"Z", b"X"), int(fields[2]), int(fields[19]))


def all_processes() -> list[ProcessInfo]:
    """Looks at every process there is."""
    found = [look_up(int(name)) for name in os.listdir("/proc") if name.isdecimal()]
    return [process for process in found if process is not None]


def is_of_run(pid: int, run_directory: Path) -> bool:
    """Tells whether a process was started, or inherits from one that was, for a run directory."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it is gone, or another user's and so not ours
        return False
    return os.fsencode(f"{RUN_VARIABLE}={run_directory}") in variables


def signal_group(group: int, number: int) -> bool:
    """Sends a signal to every process of a group.

    @return: whether there is one that could get it
    """
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wait_gone(group: int, seconds: float | None = None) -> bool:
    """Waits until a group that was killed has no living process left.

    @param seconds: at most this long; None waits for as long as the kernel needs
    @return: whether it is gone
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = 0.001
    # A dead process whose parent does not care for it keeps its number but does nothing any more.
    while signal_group(group, 0) and any(p.group == group and not p.zombie for p in all_processes()):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    return True


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Replaces a record as a whole; not synced, because processes end with the machine as well."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(record) + "\n")
    new.replace(path)


def read_record(path: Path) -> dict[str, Any] | None:
    """Reads a record.

    @return: None if there is none that can be read
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


@dataclass(frozen=True)
class Account:
    """The user a command runs as."""

    uid: int
    gid: int
    groups: list[int]
    variables: Mapping[str, str]

    @classmethod
    def of(cls, user: str | None) -> Account | None:
        """Looks a user up.

        @return: None if nothing needs to be switched
        @raise OpExecError: there is none of this name
        """
        if user is None:
            return None
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise OpExecError(f"Commands are to run as {user}, a user that does not exist; correct run_as") from None
        if entry.pw_uid == os.geteuid():
            return None
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        variables = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
        return cls(entry.pw_uid, entry.pw_gid, groups, variables)


def clean_environment(given: Mapping[str, str], account: Account | None, run_directory: Path) -> dict[str, str]:
    """Makes the environment of a command: a few variables of the daemon's, and the given ones."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    own = account.variables if account else {}
    return {"PATH": _PATH, **kept, **own, **given, RUN_VARIABLE: str(run_directory)}


def start(
    argv: Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str],
    account: Account | None,
    stdin: int,
    output: int,
) -> subprocess.Popen[bytes]:
    """Starts a command as the leader of a session and process group of its own.

    @param stdin: descriptor to read from
    @param output: descriptor that gets standard output and errors, in the order written
    @raise OpExecError: it cannot be started
    """
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd or "/",
            env=env,
            stdin=stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
            umask=0o022,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        raise OpExecError(f"The command {argv[0]} cannot be started: {why}") from error
