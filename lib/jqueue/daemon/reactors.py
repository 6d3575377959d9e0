"""What the daemon needs of a reactor, as one type."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorTime,
    IReactorUNIX,
)


class Reactor(IReactorCore, IReactorFDSet, IReactorFromThreads, IReactorTime, IReactorUNIX):
    """Every interface of a reactor on Linux that is used here."""
