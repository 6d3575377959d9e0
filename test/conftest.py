"""What tests of several directories use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from .integration.daemon import Daemon


class MakeDaemon(Protocol):
    """Makes a daemon below the test's own directory; see `Daemon`. Not yet started."""

    def __call__(self, config: dict[str, dict[str, object]] | None = None, **options: Any) -> Daemon: ...


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[MakeDaemon]:
    """Makes daemons, and ends them after the test; none may have had an error that nobody handled."""
    made: list[Daemon] = []

    def make(config: dict[str, dict[str, object]] | None = None, **options: Any) -> Daemon:
        made.append(Daemon(tmp_path / f"daemon{len(made)}", config, **options))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
    for daemon in made:
        assert "Traceback" not in daemon.said(), daemon.said()


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A daemon with default settings that answers."""
    return make_daemon().start()
