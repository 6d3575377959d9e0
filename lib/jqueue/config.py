"""The settings of the daemon: every one of them, its default, its type and its meaning, in one place.

`load` reads them from YAML; a setting that is not there keeps its default, an unknown one is refused.
Durations are seconds (or text like `6h`), sizes are bytes (or text like `64MiB`).
Where the state and the sockets go by default is in `jqueue.directories`.
"""

from __future__ import annotations

import dataclasses
import difflib
import grp
import math
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from jqueue import yamltext
from jqueue.directories import default_runtime_dir as default_runtime_dir
from jqueue.directories import default_state_dir as default_state_dir
from jqueue.errors import ConfigurationError
from jqueue.yamltext import Value

T = TypeVar("T")

_UNITS_OF_TIME = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS_OF_SIZE = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MIN_SIZE = 4096


# How a value is read: each takes what YAML gave, returns what the setting holds, or tells by ValueError what it wants


def _count(value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number of 1 or more expected")
    return value


def _duration(value: Value) -> float:
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?(ms|[smhdw]))+", value):
        return math.fsum(float(n) * _UNITS_OF_TIME[unit] for n, unit in re.findall(r"([\d.]+)(ms|[smhdw])", value))
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError("a duration expected: a number of seconds, or text like 90s, 1h30m, 7d")
    return float(value)


def _size(value: Value) -> int:
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(value)) if not isinstance(value, bool) else None
    unit = _UNITS_OF_SIZE.get(match[2]) if match else None
    if match is None or unit is None or int(match[1]) * unit < _MIN_SIZE:
        raise ValueError("a size of 4KiB or more expected: a number of bytes, or text like 512KiB, 64MiB, 1GiB")
    return int(match[1]) * unit


def _mode(value: Value) -> int:
    mode = int(value, 8) if isinstance(value, str) and re.fullmatch("0?o?[0-7]{3}", value) else value
    if not isinstance(mode, int) or isinstance(mode, bool) or not 0 <= mode <= 0o777:
        raise ValueError("permissions of a file expected, in octal: 0660")
    return mode


def _user(value: Value) -> str | None:
    return _account(value, "user", pwd.getpwnam)


def _group(value: Value) -> str | None:
    return _account(value, "group", grp.getgrnam)


def _account(value: Value, kind: str, look_up: Callable[[str], object]) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the name of a {kind} expected")
    if value is not None:
        try:
            look_up(value)
        except KeyError:
            raise ValueError(f"this machine has no {kind} of that name") from None
    return value


def _uids(value: Value) -> frozenset[int]:
    if not isinstance(value, list):
        raise ValueError("a list of user names or uids expected")
    return frozenset(_uid(user) for user in value)


def _uid(user: Value) -> int:
    if isinstance(user, int) and not isinstance(user, bool) and user >= 0:
        return user
    if not isinstance(user, str):
        raise ValueError(f"a list of user names or uids expected, it holds {user!r}")
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"this machine has no user {user!r}") from None


def _modules(value: Value) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("a list of names of Python modules expected")
    return tuple(str(name) for name in value)


def _capacities(value: Value) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise ValueError("a map from level/name to a whole number expected")
    for name in value:
        if not re.fullmatch("[^/]+/.+", name):
            raise ValueError(f"the name of a lock, level/name, expected instead of {name!r}")
    return MappingProxyType({name: _count(capacity) for name, capacity in value.items()})


def _choice(*choices: str) -> Callable[[Value], str]:
    def read(value: Value) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)} expected")
        return str(value)

    return read


def _setting(read: Callable[[Value], T], default: Value, doc: str) -> T:
    """Declares a setting: its default as one would write it in YAML, and its meaning in a line."""
    metadata = {"read": read, "default": default, "doc": doc}
    made: T = field(default_factory=lambda: read(default), metadata=metadata)
    return made


# The settings


@dataclass(frozen=True)
class Workers:
    """The threads that run opcodes."""

    size: int = _setting(_count, 10, "how many opcodes run at the same time")


@dataclass(frozen=True)
class Queue:
    """What the queue takes and keeps."""

    max_unfinished: int = _setting(_count, 1_000_000, "unfinished jobs at which new ones are refused")
    max_finished: int = _setting(_count, 100_000, "finished jobs at which the oldest are archived before their time")
    keep_in_memory: int = _setting(_count, 10_000, "finished jobs kept whole in memory")
    archive_after: float = _setting(_duration, "6h", "how long a finished job stays in the queue before it is archived")
    age_step: int = _setting(_count, 1000, "how many later submissions one step of priority is worth")
    max_ops_per_job: int = _setting(_count, 1000, "opcodes that one job may have")
    max_jobs_per_group: int = _setting(_count, 1000, "jobs that one group may have")
    max_job_size: int = _setting(_size, "4MiB", "largest job description")


@dataclass(frozen=True)
class Locks:
    """How jobs share named resources."""

    max_bypass: float = _setting(_duration, "60s", "how long younger jobs may overtake one that waits for a lock")
    capacities: Mapping[str, int] = _setting(_capacities, {}, "capacity of counted locks, for example resource/tape: 2")


@dataclass(frozen=True)
class Rpc:
    """The socket of our own protocol."""

    max_message: int = _setting(_size, "8MiB", "largest message of a client")
    max_connections: int = _setting(_count, 5000, "connections at the same time")
    socket_mode: int = _setting(_mode, "0660", "permissions of the sockets, in octal")
    socket_group: str | None = _setting(_group, None, "group of the sockets; null for that of the daemon")


@dataclass(frozen=True)
class Roles:
    """Who may do what, by user name or uid."""

    admins: frozenset[int] = _setting(_uids, [], "users who may do everything, besides root and the daemon's own user")
    operators: frozenset[int] = _setting(_uids, [], "users who may submit, and act on jobs")
    readers: frozenset[int] = _setting(_uids, [], "users who may look, nothing else")


@dataclass(frozen=True)
class Command:
    """How OP_RUN_COMMAND runs its commands."""

    run_as: str | None = _setting(_user, None, "user that commands run as; null for that of the daemon")
    kill_after: float = _setting(_duration, "5s", "time between TERM and KILL for a command that is cancelled")


@dataclass(frozen=True)
class Journal:
    """The write-ahead journal."""

    segment_size: int = _setting(_size, "16MiB", "size of one file of the journal, allocated in advance")
    checkpoint_after: int = _setting(_size, "64MiB", "journal written since the last checkpoint at which one is taken")
    reserve: int = _setting(
        _size, "4MiB", "space kept back for finishing what runs when the disk is full; at least 2MiB a worker and 2MiB"
    )


@dataclass(frozen=True)
class JobFiles:
    """The job-N files."""

    delay: float = _setting(_duration, "50ms", "how long changes of a job are collected into one write of its file")
    max_delay: float = _setting(_duration, "2s", "the same under load, for a job that has not ended")


@dataclass(frozen=True)
class Log:
    """The logs of jobs."""

    cap: int = _setting(_size, "1GiB", "size at which the log of a job is cut off")
    memory: int = _setting(_count, 100, "log entries of a job kept in memory")


@dataclass(frozen=True)
class Incoming:
    """The directory into which job descriptions are dropped."""

    rescan: float = _setting(_duration, "60s", "time between two looks into watched directories without an event")
    settle: float = _setting(_duration, "2s", "how long a file must be unchanged if its writer did not close it")


@dataclass(frozen=True)
class Stop:
    """What SIGTERM does."""

    grace: float = _setting(_duration, "120s", "how long running opcodes may go on before they are cancelled")


@dataclass(frozen=True)
class Opcodes:
    """Where opcodes come from, besides the built-in ones and installed packages."""

    modules: tuple[str, ...] = _setting(_modules, [], "Python modules to load opcodes from")


@dataclass(frozen=True)
class Daemon:
    """The daemon's own log, on stderr."""

    log_format: str = _setting(_choice("text", "json"), "text", "text or json")
    log_level: str = _setting(_choice("debug", "info", "warn", "error", "critical"), "info", "least level that is told")


@dataclass(frozen=True)
class Config:
    """All settings, by section."""

    workers: Workers = field(default_factory=Workers)
    queue: Queue = field(default_factory=Queue)
    locks: Locks = field(default_factory=Locks)
    rpc: Rpc = field(default_factory=Rpc)
    roles: Roles = field(default_factory=Roles)
    command: Command = field(default_factory=Command)
    journal: Journal = field(default_factory=Journal)
    job_files: JobFiles = field(default_factory=JobFiles)
    log: Log = field(default_factory=Log)
    incoming: Incoming = field(default_factory=Incoming)
    stop: Stop = field(default_factory=Stop)
    opcodes: Opcodes = field(default_factory=Opcodes)
    daemon: Daemon = field(default_factory=Daemon)


Section = TypeVar(
    "Section", Workers, Queue, Locks, Rpc, Roles, Command, Journal, JobFiles, Log, Incoming, Stop, Opcodes, Daemon
)


def load(path: Path | None) -> Config:
    """Reads the configuration file.

    @param path: the file; None for all defaults
    @raise ConfigurationError: the file cannot be read, is not YAML, or holds a setting that is unknown or wrong
    """
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: byte {exc.start} is not UTF-8") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Config:
    """Reads a configuration from YAML text.

    @param source: what to call the text in errors
    @raise ConfigurationError: as `load`
    """
    documents = yamltext.parse(text, source, ConfigurationError)
    if len(documents) > 1:
        raise ConfigurationError(f"{source}: one YAML document expected, it holds {len(documents)}")
    config = Config()
    for name, settings in _members(config, documents[0] if documents else None, source, "").items():
        section = _read_section(getattr(config, name), settings, source, name)
        config = dataclasses.replace(config, **{name: section})
    return config


def _read_section(section: Section, settings: Value, source: str, name: str) -> Section:
    readers = {each.name: each.metadata["read"] for each in dataclasses.fields(section)}
    found = {}
    for key, value in _members(section, settings, source, f"{name}.").items():
        try:
            found[key] = readers[key](value)
        except ValueError as exc:
            raise ConfigurationError(f"{source}: {name}.{key}: {exc}, got {value!r}") from None
    return dataclasses.replace(section, **found)


def _members(owner: Config | Section, value: Value, source: str, prefix: str) -> dict[str, Value]:
    """Checks that a value is a map whose keys are fields of its owner; nothing at all is an empty map."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{source}: {prefix.rstrip('.') or 'the file'}: a map expected, got {value!r}")
    known = [each.name for each in dataclasses.fields(owner)]
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"
            raise ConfigurationError(f"{source}: {prefix}{key}: there is no such setting; {hint}")
    return value
