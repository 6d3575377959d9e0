"""What locks an opcode asks for: levels, modes, and their one normal form.

Who gets a lock, and when, lives in `jqueue.locks`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from jqueue.errors import OpPrereqError
from jqueue.opcodes.kinds import Text, describe, inside, refuse

SHARED: Final = "shared"
EXCLUSIVE: Final = "exclusive"
ALL: Final = "*"
"""The name that stands for a whole level, names not seen yet included; as a mode: the whole level, exclusive."""

LEVELS: Final = (
    "cluster",
    "instance",
    "node-alloc",
    "nodegroup",
    "node",
    "node-res",
    "network",
    "image",
    "file",
    "resource",
)
_PATH_MAX: Final = 4096
PATH_LEVELS: Final = frozenset({"image", "file"})
"""Levels whose names are paths: two spellings of one file are one lock."""

Mode = str | int
"""`SHARED`, `EXCLUSIVE`, or how many of a counted lock."""
LockSpec = Mapping[str, Mapping[str, Mode] | Mode]
"""What an author or a submitter writes: level to names with their modes, or to one mode for the whole level."""
LockSet = dict[str, dict[str, Mode]]
"""The normal form: level to names (or `ALL`) with their modes."""


def check_mode(value: object, path: str) -> Mode:
    """Checks one mode.

    @raise OpPrereqError: it is none
    """
    if value in (SHARED, EXCLUSIVE) and isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31:
        return value
    raise refuse(path, f"shared, exclusive or a count of at least 1 expected, got {describe(value)}")


def stronger(one: Mode, other: Mode) -> Mode:
    """Gives the weakest mode that covers two requests of one opcode."""
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    return one if one == other else EXCLUSIVE


def normalise(spec: object, path: str) -> LockSet:
    """Brings a request into the normal form; path names stay as they are.

    @param spec: see `LockSpec`
    @param path: where it stands, for errors
    @raise OpPrereqError: an unknown level, a bad name or mode
    """
    if not isinstance(spec, Mapping):
        raise refuse(path, f"map of lock levels expected, got {describe(spec)}")
    found: LockSet = {}
    for level, names in spec.items():
        where = inside(path, level)
        if level not in LEVELS:
            raise refuse(where, f"unknown lock level; known are {', '.join(LEVELS)}")
        if isinstance(names, Mapping):
            modes = {
                Text().check(name, inside(where, name)): check_mode(mode, inside(where, name))
                for name, mode in names.items()
            }
            if "" in modes:
                raise refuse(where, "a lock needs a name")
            if level in PATH_LEVELS and any(len(os.fsencode(name)) > _PATH_MAX for name in modes):
                raise refuse(where, f"a path of at most {_PATH_MAX} bytes expected")
        else:
            modes = {ALL: EXCLUSIVE if names == ALL else check_mode(names, where)}
        if modes:
            found[level] = modes
    return found


def merge(one: LockSet, other: LockSet) -> LockSet:
    """Unites two requests; where both name a lock the stronger mode counts."""
    united = {level: dict(names) for level, names in one.items()}
    for level, names in other.items():
        into = united.setdefault(level, {})
        for name, mode in names.items():
            into[name] = stronger(into[name], mode) if name in into else mode
    return united


def resolve_paths(locks: LockSet) -> dict[str, str]:
    """Looks up what the path names stand for; asks the file system.

    @return: absolute path without links, for those names that are spelled differently
    @raise OpPrereqError: a name cannot be a path
    """
    resolved = {}
    for level in PATH_LEVELS & locks.keys():
        for name in locks[level].keys() - {ALL}:
            try:
                real = os.path.realpath(name)
            except (OSError, ValueError) as error:
                raise OpPrereqError(f"The {level} lock {describe(name)} names no path: {error}") from error
            if real != name:
                resolved[name] = real
    return resolved


def rename_paths(locks: LockSet, resolved: Mapping[str, str]) -> LockSet:
    """Puts the paths that `resolve_paths` found in the place of the names.

    @param resolved: by name
    """
    if not resolved:
        return locks
    renamed: LockSet = {}
    for level, names in locks.items():
        into = renamed.setdefault(level, {})
        for name, mode in names.items():
            real = resolved.get(name, name) if level in PATH_LEVELS else name
            into[real] = stronger(into[real], mode) if real in into else mode
    return renamed
