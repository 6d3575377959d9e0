"""Progress of followed jobs on stderr: a bar on a terminal, a line now and then in a file, nothing when quiet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jqueue.cli.stages import limit_text
from jqueue.cli.terminal import Terminal, printable
from jqueue.cli.words import percent, progress_text

_CELLS = 20
_LINE_EVERY = 10
"""Percentage points between two lines where there is no terminal."""


class Progress:
    """Shows how far the running jobs are; the latest state replaces the one before."""

    def __init__(self, terminal: Terminal, several: bool) -> None:
        """Makes it.

        @param several: whether lines must say which job they are about
        """
        self._terminal = terminal
        self._several = several
        self._live = terminal.stderr.isatty() and terminal.environ.get("TERM") != "dumb"
        self._shown = ""
        self._told: dict[int, tuple[int, str, str]] = {}
        terminal.before_each_line(self.erase)

    def update(self, jobs: Mapping[int, Sequence[Any] | None], limits: Mapping[int, int]) -> None:
        """Shows the progress of the running jobs.

        @param jobs: `[done, total, text]` of each, None for one that has said nothing
        @param limits: their speed limits, 0 for none
        """
        if self._terminal.quiet or self._terminal.json:
            return
        known = {job_id: progress for job_id, progress in jobs.items() if progress is not None}
        if self._live:
            bars = (self._bar(job_id, progress, limit_text(limits[job_id])) for job_id, progress in known.items())
            self._draw("   ".join(bars))
        else:
            for job_id, progress in known.items():
                self._tell(job_id, progress, limit_text(limits[job_id]))

    def erase(self) -> None:
        """Takes the bar off the screen, so that a line can be written there."""
        if self._shown:
            self._shown = ""
            self._terminal.stderr.write("\r\x1b[K")
            self._terminal.stderr.flush()

    def close(self) -> None:
        """Ends the display."""
        self.erase()
        self._terminal.before_each_line(None)

    def _draw(self, text: str) -> None:
        text = printable(text)[: (self._terminal.width or 80) - 1]
        if text != self._shown:
            self._terminal.stdout.flush()
            self._terminal.stderr.write(f"\r\x1b[K{text}")
            self._terminal.stderr.flush()
            self._shown = text

    def _bar(self, job_id: int, progress: Sequence[Any], limit: str) -> str:
        done, total = progress[0], progress[1]
        full = percent(done, total) * _CELLS // 100 if total else 0
        bar = f"[{'#' * full}{'.' * (_CELLS - full)}] " if total else ""
        return (
            f"{f'{job_id} ' if self._several else ''}{bar}{', '.join(filter(None, [progress_text(progress), limit]))}"
        )

    def _tell(self, job_id: int, progress: Sequence[Any], limit: str) -> None:
        """Writes a line when the job is ten points further, does another thing, or has another limit."""
        done, total, text = progress
        step = percent(done, total) // _LINE_EVERY if total else -1
        news = (step, "" if total else str(text), limit)
        if self._told.get(job_id) != news:
            self._told[job_id] = news
            what = ", ".join(filter(None, [progress_text(progress), limit]))
            self._terminal.say(f"{f'job {job_id}: ' if self._several else ''}{what}")
