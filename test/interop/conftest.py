"""A daemon whose `qmp.sock` the real clients use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.daemon import Daemon, wait_until


class QmpServer:
    """The real daemon, as a client of QMP sees it."""

    def __init__(self, directory: Path) -> None:
        self._daemon = Daemon(directory).start()
        self.path = self._daemon.runtime / "qmp.sock"
        self.wait = self._daemon.wait

    def until(self, job_id: int, lifecycle: str) -> None:
        """Waits until a job is in a state: the reply to a verb does not."""

        def reached() -> bool:
            found = self._daemon.call("QueryJobs", [job_id], ["lifecycle"], None)
            return bool(found == [[lifecycle]])

        wait_until(reached, f"job {job_id} to be {lifecycle}")

    def close(self) -> None:
        said = self._daemon.said()
        self._daemon.close()
        assert "Traceback" not in said, said


@pytest.fixture
def qmp(tmp_path: Path) -> Iterator[QmpServer]:
    server = QmpServer(tmp_path)
    yield server
    server.close()
