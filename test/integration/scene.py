"""What tests of the scheduler share: one daemon for all tests of a module, and jobs that run until a file exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .daemon import Daemon, wait_until

MODULES: dict[str, object] = {"modules": ["noting", "probing"]}
"""The section `opcodes` of a configuration that loads the opcodes for tests."""


@contextmanager
def running(directory: Path, config: Mapping[str, Mapping[str, object]]) -> Iterator[Daemon]:
    """Runs a daemon, which must not have had an error that nobody handled."""
    daemon = Daemon(directory, {"opcodes": MODULES, **config}).start()
    try:
        yield daemon
    finally:
        daemon.close()
    assert "Traceback" not in daemon.said(), daemon.said()


class Scene:
    """One test's jobs and files."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        self.trace = directory / "trace"

    # Jobs

    def holder(self, gate: str, **parameters: object) -> dict[str, object]:
        """Makes an opcode that runs until its gate is opened."""
        return {"OP_ID": "OP_NOTE", "path": str(self.directory / "notes"), "until": self.gate(gate), **parameters}

    def gate(self, name: str) -> str:
        """The file that opens a gate."""
        return str(self.directory / f"gate-{name}")

    def open(self, *gates: str) -> None:
        """Lets the opcodes at these gates end."""
        for name in gates:
            Path(self.gate(name)).touch()

    def hold(self, gate: str, **parameters: object) -> int:
        """Submits a job that runs until its gate is opened, and waits until it runs."""
        job_id = self.daemon.submit(self.holder(gate, **parameters))
        self.daemon.wait_for(job_id, "running")
        return job_id

    def clean(self) -> None:
        """Ends what a test has left."""
        left = self.unfinished()
        for job_id in left:
            self.daemon.call("ResumeJob", job_id)
            self.daemon.call("CancelJob", job_id)
        for [ops] in self.daemon.call("QueryJobs", left, ["ops"], None) if left else ():
            for path in (op["until"] for op in ops if "until" in op):
                Path(path).touch()
        wait_until(lambda: not self.unfinished(), "the jobs of the test to end")

    def unfinished(self) -> list[int]:
        """The jobs that have not ended."""
        waiting = ["|", *(["==", "status", name] for name in ("queued", "waiting", "canceling", "running"))]
        return [job_id for [job_id] in self.daemon.call("QueryJobs", None, ["id"], waiting)]

    # What became of them

    def fields(self, job_id: int, *names: str) -> list[Any]:
        """Asks for fields of a job."""
        [row] = self.daemon.call("QueryJobs", [job_id], list(names), None)
        assert isinstance(row, list)
        return row

    def failure(self, job_id: int, op: int = 0) -> str:
        """The text of the error that an opcode ended with."""
        [results] = self.fields(job_id, "opresult")
        text = results[op][1][0]
        assert isinstance(text, str)
        return text

    def why(self, job_id: int) -> dict[str, Any]:
        """The first reason why a job does not run."""
        reason = self.daemon.call("ExplainJob", job_id)["reasons"][0]
        assert isinstance(reason, dict)
        return reason

    def waits(self, job_id: int, kind: str) -> dict[str, Any]:
        """Waits until a job waits for something of a kind, and gives the reason."""
        wait_until(lambda: self.why(job_id)["kind"] == kind, f"job {job_id} to wait for a {kind}")
        return self.why(job_id)

    def order(self, *job_ids: int) -> list[int]:
        """The jobs in the order in which their first opcodes started to run."""
        rows = self.daemon.call("QueryJobs", list(job_ids), ["opexec", "id"], None)
        return [job_id for _, job_id in sorted((opexec[0], job_id) for opexec, job_id in rows)]

    def log(self, job_id: int) -> list[str]:
        """The messages in a job's log."""
        return [str(entry[4]) for entry in self.daemon.call("QueryJobLog", job_id, 0, 1000)]

    def traced(self) -> list[str]:
        """The lines that the opcodes of `probing` have noted."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []
