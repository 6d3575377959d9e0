"""What can be asked of locks: modes, and requests for many locks at once.

How requests are written down and checked is in `jqueue.opcodes.lockspec`. Whether a request can be granted is not
decided here, see `jqueue.locks.lock`.

A lock is held `SHARED`, `EXCLUSIVE`, or counted (an int: so many units of its capacity). Holders that share and
holders that count get on with each other; a shared holder is one of no units. So exclusive is stronger than counted,
counted is stronger than shared, and of two counts the higher one is stronger: when requests are merged the stronger
mode wins, counts are not added, because the opcodes of one owner run one after the other.

A whole level is the lock whose name is `ALL`. Whoever holds a name of the level also holds that lock in an **intent**
mode, so that a request for the whole level sees one lock and not every name, and covers names that nobody has used
yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from jqueue.opcodes import lockspec
from jqueue.opcodes.lockspec import ALL, EXCLUSIVE, SHARED, Mode

__all__ = [
    "ALL",
    "EXCLUSIVE",
    "INTENT_EXCLUSIVE",
    "INTENT_SHARED",
    "SHARED",
    "SHARED_INTENT_EXCLUSIVE",
    "Key",
    "LockRequest",
    "Mode",
    "compatible",
    "key_of",
    "key_text",
    "normalise",
    "stronger",
]

Key = tuple[str, str]
"""(level, name) of a lock."""

INTENT_SHARED: Final = "intent-shared"
INTENT_EXCLUSIVE: Final = "intent-exclusive"
SHARED_INTENT_EXCLUSIVE: Final = "shared-intent-exclusive"

_COUNTED: Final = "counted"
# Two counted holders get on with each other as far as the capacity goes, which is not a matter of the modes.
_COMPATIBLE: Final[Mapping[str, frozenset[str]]] = {
    SHARED: frozenset((SHARED, _COUNTED, INTENT_SHARED)),
    _COUNTED: frozenset((SHARED, _COUNTED)),
    EXCLUSIVE: frozenset(),
    INTENT_SHARED: frozenset((SHARED, INTENT_SHARED, INTENT_EXCLUSIVE, SHARED_INTENT_EXCLUSIVE)),
    INTENT_EXCLUSIVE: frozenset((INTENT_SHARED, INTENT_EXCLUSIVE)),
    SHARED_INTENT_EXCLUSIVE: frozenset((INTENT_SHARED,)),
}


def compatible(one: Mode, other: Mode) -> bool:
    """Whether two owners can hold the same lock in these modes, as far as its capacity allows."""
    kind = one if isinstance(one, str) else _COUNTED
    return (other if isinstance(other, str) else _COUNTED) in _COMPATIBLE[kind]


def stronger(one: Mode, other: Mode) -> Mode:
    """The one of two declared modes that gives what both give."""
    return one if _strength(one) >= _strength(other) else other


def _strength(mode: Mode) -> float:
    if isinstance(mode, str):
        return float("inf") if mode == EXCLUSIVE else 0
    return mode


def key_text(key: Key) -> str:
    """The name of a lock as people write it, for example `instance/web1`, or `node/*` for a whole level."""
    return f"{key[0]}/{key[1]}"


def key_of(text: str) -> Key:
    """The lock of that name, as `key_text` writes it."""
    level, _, name = text.partition("/")
    return level, name


class LockRequest(Mapping[Key, Mode]):
    """Which locks in which modes; immutable."""

    __slots__ = ("_modes",)

    def __init__(self, modes: Mapping[Key, Mode] | None = None) -> None:
        """Makes a request; `normalise` makes one from what an opcode declares.

        @param modes: by (level, name) the mode, shared, exclusive or a count; none for the empty request
        """
        self._modes = dict(modes or {})

    def __getitem__(self, key: Key) -> Mode:
        return self._modes[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._modes)

    def __len__(self) -> int:
        return len(self._modes)

    def __repr__(self) -> str:
        return f"LockRequest({self._modes!r})"

    def covers(self, key: Key, mode: Mode) -> bool:
        """Whether who holds this request needs nothing more to have a lock in a mode."""
        own = self._modes.get(key)
        if own is not None and _strength(own) >= _strength(mode):
            return True
        whole = self._modes.get((key[0], ALL))
        # A shared hold of the level has no units, and an exclusive one is the only one there.
        return whole is not None and _strength(whole) >= _strength(mode)

    def union(self, other: LockRequest) -> LockRequest:
        """This request and what the other one adds to it, the stronger mode where both name a lock."""
        added = {key: mode for key, mode in other.items() if not self.covers(key, mode)}
        if not added:
            return self
        merged = dict(self._modes)
        for key, mode in added.items():
            merged[key] = stronger(merged[key], mode) if key in merged else mode
        return LockRequest(merged)

    @classmethod
    def side_by_side(cls, requests: Iterable[LockRequest]) -> LockRequest:
        """What an owner needs whose parts hold all these requests at the same time: counts are added."""
        merged: dict[Key, Mode] = {}
        for key, mode in (each for request in requests for each in request.items()):
            own = merged.get(key)
            if own is None:
                merged[key] = mode
            elif isinstance(own, int) and isinstance(mode, int):
                merged[key] = own + mode
            else:
                merged[key] = stronger(own, mode)
        return cls(merged)

    def with_levels(self) -> dict[Key, Mode]:
        """The request with the locks of the levels themselves, each before the names of its level.

        @return: by (level, name) the mode, which for the name `ALL` may be an intent mode
        """
        names: dict[str, dict[Key, Mode]] = {}
        for key, mode in self._modes.items():
            level = names.setdefault(key[0], {})
            if key[1] != ALL:
                level[key] = mode
        result: dict[Key, Mode] = {}
        for level_name, wanted in names.items():
            whole = self._modes.get((level_name, ALL))
            result[level_name, ALL] = _level_mode(whole, EXCLUSIVE in wanted.values())
            result.update(wanted)
        return result


def _level_mode(whole: Mode | None, writes: bool) -> Mode:
    """The mode in which the lock of a level is held.

    @param whole: the mode that was asked for the whole level, if it was
    @param writes: whether a name of the level is wanted exclusively
    """
    if whole is None:
        return INTENT_EXCLUSIVE if writes else INTENT_SHARED
    return SHARED_INTENT_EXCLUSIVE if whole == SHARED and writes else whole


def normalise(declared: Mapping[str, object]) -> LockRequest:
    """Makes a request from what an opcode declares.

    @param declared: a `jqueue.opcodes.lockspec.LockSpec`
    @raise errors.OpPrereqError: it is none; the text says where
    """
    checked = lockspec.normalise(declared, "locks")
    return LockRequest({(level, name): mode for level, names in checked.items() for name, mode in names.items()})
