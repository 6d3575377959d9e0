"""One client's connection, as the methods see it, in whatever protocol."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from jqueue.rpc.api import Listener
from jqueue.rpc.peer import Peer, Role


class Session:
    """Who asks, and what must end when they are gone."""

    def __init__(self, peer: Peer, role: Role | None, notify: Listener | None = None) -> None:
        """Makes the session.

        @param role: None if the peer may do nothing
        @param notify: sends the peer a notification; None if its protocol has none
        """
        self.peer = peer
        self.role = role
        self.notify = notify
        self._closed = False
        self._waiting: set[Deferred[None]] = set()
        self._end_subscription: Callable[[], None] | None = None

    def until_closed(self) -> Deferred[None]:
        """Gives a Deferred that fires when the connection is lost, unless `forget` is called before."""
        gone: Deferred[None] = Deferred()
        if self._closed:
            gone.callback(None)
        else:
            self._waiting.add(gone)
        return gone

    def forget(self, gone: Deferred[None]) -> None:
        """Drops what `until_closed` gave."""
        self._waiting.discard(gone)

    def subscribed(self, end: Callable[[], None] | None) -> None:
        """Notes how to end the subscription, after ending the one before; None for no subscription."""
        if self._end_subscription is not None:
            self._end_subscription()
        self._end_subscription = end

    def close(self) -> None:
        """The connection is lost."""
        self._closed = True
        self.subscribed(None)
        while self._waiting:
            self._waiting.pop().callback(None)
