"""The course of a mirror: a scan of everything, then what changed, until somebody says that it is enough.

What inotify tells says where to look next; the truth is what a scan finds. What is done to bring one directory in step
lives in `jqueue.opcodes.treesync`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from jqueue.opcodes.base import COMPLETE, OpContext
from jqueue.opcodes.treediff import Rules, What
from jqueue.opcodes.treedirs import Tree
from jqueue.opcodes.treesync import TreeSync, preview
from jqueue.watch import TreeWatch

_SHORT = 1.0  # seconds; trees pass as in step if what changed meanwhile was brought over in less
_REST = 9  # times what a scan took is the least until the next, so that a large tree does not keep a processor busy
_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class TreeMirror:
    """Keeps one tree in step with another."""

    def __init__(
        self,
        ctx: OpContext,
        source: Tree,
        target: Tree,
        rules: Rules,
        watch: TreeWatch,
        *,
        rescan: float,
        log_steps: bool = False,
    ) -> None:
        """Makes one.

        @param watch: an empty one, for the source
        @param rescan: seconds from one full scan to the next
        @param log_steps: whether everything that is done gets a log line
        """
        self.passes = 0
        """Full scans so far."""
        self._ctx = ctx
        self._source = source
        self._target = target
        self._rules = rules
        self._watch = watch
        self._rescan = rescan
        self._next_scan = 0.0
        self._refused: str | None = None
        self._sync = TreeSync(ctx, source, target, rules, on_open=watch.add, log_steps=log_steps)

    @property
    def files(self) -> int:
        """Files copied so far."""
        return self._sync.files

    @property
    def copied(self) -> int:
        """Bytes copied so far."""
        return self._sync.meter.done

    def run(self) -> str:
        """Mirrors until told to end.

        @return: what it was told, `COMPLETE` or `LEAVE`; all that was written by then is on the disk
        @raise OpExecError: something cannot be read or written; the text names it
        """
        self._ctx.progress(0, 1, "comparing")
        for _, step in preview(self._ctx, self._source, self._target, self._rules):
            if step.what is What.COPY and step.source is not None:
                self._sync.meter.expect(step.source.state.st_size)
        self._sync.meter.text = "copying"
        self._scan()
        self._converge()
        told = None
        while told is None:
            self._sync.meter.settle("in step")
            told = self._ctx.ready(self._wait(), self._watch.fileno() if self._watch.fileno() >= 0 else None)
            if told is None:
                self._keep_up()
        if told == COMPLETE:
            self._complete()
        self._sync.sync()
        self._sync.meter.settle("in step" if told == COMPLETE else "left")
        return told

    def _converge(self) -> None:
        """Follows the changes until they are few enough."""
        while True:
            began = time.monotonic()
            changed = self._keep_up()
            if self._sync.restless:
                self._ctx.sleep(self._sync.wait() or 0)
            elif not changed or time.monotonic() - began < _SHORT:
                return

    def _wait(self) -> float:
        """@return: seconds until there is something to do, even if nothing changes"""
        scan, again = max(self._next_scan - time.monotonic(), 0), self._sync.wait()
        return scan if again is None else min(scan, again)

    def _keep_up(self) -> bool:
        """Brings in step what changed, and what is due.

        @return: whether anything changed
        """
        changed = self._watch.read()
        self._doubt(changed or {})
        if changed is None or time.monotonic() >= self._next_scan:
            self._scan()
            return True
        self._check_tops()
        for directory in sorted({*changed, *self._sync.due()}):
            self._sync.bring(directory, deep=directory in changed and not self._watch.watches(directory))
        return bool(changed)

    def _doubt(self, changed: Mapping[str, set[str]]) -> None:
        """What was written to, or came into the place of another, is compared by its content."""
        for directory, names in changed.items():
            self._sync.doubt(directory, names)
            if not self._watch.watches(directory):
                self._sync.doubt_tree(directory)

    def _complete(self) -> None:
        """Scans until a scan finds nothing, or only what the one before it did already, and could not be helped."""
        self._sync.meter.text = "completing"
        self._sync.hurry()
        former: int | None = None
        for number in range(1, 1 << 62):
            self._doubt(self._watch.read() or {})
            steps, self._sync.fingerprint = self._sync.steps, 0
            self._scan()
            same = self._sync.steps == steps or self._sync.fingerprint == former
            if same and not self._sync.restless:
                return
            former = self._sync.fingerprint
            if number >= 8 and number.bit_count() == 1:
                self._ctx.log(f"{self._sync.last} differed again in scan {number}; stop what writes to the source")
            self._ctx.sleep(max(self._sync.wait() or 0, min(_PAUSE * number, _LONGEST_PAUSE)))

    def _scan(self) -> None:
        self._check_tops()
        self.passes += 1
        began = time.monotonic()
        self._watch.begin_scan()
        self._sync.bring_all()
        self._watch.end_scan()
        now = time.monotonic()
        self._next_scan = now + max(self._rescan, _REST * (now - began))
        if self._watch.refused not in (None, self._refused):
            self._refused = self._watch.refused
            self._ctx.log(
                f"Not every directory of the source can be watched ({self._refused});"
                f" there, changes are found by the scan every {self._rescan:g} s"
            )

    def _check_tops(self) -> None:
        self._source.check_top()
        self._target.check_top()
