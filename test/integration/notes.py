"""The notes that the opcodes of `opcodes/noting.py` take: which of them started and ended, how often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

NOTING: dict[str, object] = {"modules": ["noting"]}
"""The section `opcodes` of a daemon's configuration that loads them."""


class Notes:
    """A file of notes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def op(self, *, again: bool = False, **parameters: object) -> dict[str, object]:
        """Makes an opcode that takes notes here.

        @param again: one that may be run again after a crash
        @param parameters: see `OpNote`
        """
        return {"OP_ID": "OP_NOTE_AGAIN" if again else "OP_NOTE", "path": str(self.path), **parameters}

    def count(self, event: str) -> Counter[str]:
        """Counts events by opcode.

        @param event: start or end
        @return: by "job.op", over all attempts
        """
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        pairs = (line.split() for line in lines)
        return Counter(who.rpartition(".")[0] for kind, who in pairs if kind == event)

    def started(self, job_id: int, op: int = 0) -> int:
        """How often an opcode was started."""
        return self.count("start")[f"{job_id}.{op}"]

    def ended(self, job_id: int, op: int = 0) -> int:
        """How often an opcode came to its end, by itself or not."""
        return self.count("end")[f"{job_id}.{op}"]
