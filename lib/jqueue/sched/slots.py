"""Worker slots: how many opcodes may run at once, and how many do."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Slots:
    """How many opcodes may run at once, and how many do."""

    size: int
    taken: int = field(default=0)

    @property
    def free(self) -> int:
        """How many more may start now."""
        return self.size - self.taken
