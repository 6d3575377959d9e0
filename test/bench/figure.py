"""A figure of the benchmark: its value, its goal and how it was measured; and statistics that several of them need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    how: str
    goal: str = ""

    def __str__(self) -> str:
        goal = f"   (goal: {self.goal})" if self.goal else ""
        return f"{self.name:<58} {number(self.value):>12} {self.unit}{goal}\n      {self.how}"


def number(value: float) -> str:
    """Writes a number with as many digits as it is worth."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Gives the value below which a share of the values lies.

    @param share: 0.5 is the median
    """
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
