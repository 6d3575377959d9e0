"""Request ids: a submission that is sent twice gets the same jobs.

The key of a request is who sent it and the id it was given; children of an opcode use the opcode's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jqueue.errors import ALREADY_EXISTS, OpPrereqError

KEEP = 24 * 3600.0  # seconds past the end of the last of its jobs

Key = tuple[int, str]
"""(uid of the peer, request id)."""


@dataclass
class Request:
    """What became of a request."""

    content: bytes
    """SHA-256 of what was submitted."""
    ids: list[int] | None = None
    """Its jobs, once they are durable."""
    ended: float | None = None
    """When all of its jobs were seen to have ended, in wall seconds."""
    waiting: list[Deferred[list[int]]] = field(default_factory=list)


class Requests:
    """The requests that are remembered."""

    def __init__(self) -> None:
        self._requests: dict[Key, Request] = {}

    def begin(self, key: Key, content: bytes) -> Deferred[list[int]] | None:
        """Starts a request, unless it has been sent before.

        @return: None for a new one; else fires with the ids of the first one once they are durable, or fails as it did
        @raise OpPrereqError: the id was used for something else
        """
        known = self._requests.get(key)
        if known is None:
            self._requests[key] = Request(content)
            return None
        if known.content != content:
            raise OpPrereqError(
                f"The request id {key[1]!r} was used for other jobs before; give each submission an id of its own",
                ALREADY_EXISTS,
            )
        answer: Deferred[list[int]] = Deferred()
        if known.ids is not None:
            answer.callback(known.ids)
        else:
            known.waiting.append(answer)
        return answer

    def done(self, key: Key, result: list[int] | Failure) -> None:
        """Notes that a request's jobs are durable, or that there are none."""
        request = self._requests[key]
        if isinstance(result, Failure):
            del self._requests[key]
        else:
            request.ids = result
        waiting, request.waiting = request.waiting, []
        for answer in waiting:
            answer.callback(result)

    def expire(self, now: float, unfinished: Callable[[int], bool]) -> Iterator[None]:
        """Forgets requests whose jobs have all ended long ago, in steps.

        @param now: wall time in seconds
        @param unfinished: whether a job has not ended
        """
        for key, request in list(self._requests.items()):
            yield
            if request.ids is None or any(map(unfinished, request.ids)):
                continue
            if request.ended is None:
                request.ended = now
            elif now - request.ended > KEEP:
                self._requests.pop(key, None)

    def serialize(self) -> Iterator[list[Any]]:
        """Gives those that are durable, for a checkpoint."""
        for (uid, name), request in list(self._requests.items()):
            if request.ids is not None:
                yield [uid, name, request.content, request.ids, request.ended]

    def restore(self, rows: Iterable[list[Any]]) -> None:
        """Takes what `serialize` gave."""
        for uid, name, content, ids, ended in rows:
            self._requests[uid, name] = Request(content, list(ids), ended)
