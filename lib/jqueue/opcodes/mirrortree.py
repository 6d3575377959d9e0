"""The opcode that keeps a directory tree in step with another until it is told to complete.

How it does that lives in `jqueue.opcodes.treemirror`; here are its parameters, what it refuses, and the switch-over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from jqueue.errors import OpExecError
from jqueue.opcodes.base import COMPLETE, EXCLUSIVE, SHARED, LockSpec, OpCode, OpContext, param
from jqueue.opcodes.kinds import refuse
from jqueue.opcodes.treediff import Rules, What, temporary_prefix
from jqueue.opcodes.treedirs import Tree, blame, shown
from jqueue.opcodes.treemirror import TreeMirror
from jqueue.opcodes.treesync import describe, preview, remove_temporary
from jqueue.watch import TreeWatch


def _directory(path: str) -> str | None:
    return None if path.startswith("/") else f'absolute path of a directory expected, got "{path}"'


def _link(path: str | None) -> str | None:
    if path is None or (path.startswith("/") and os.path.basename(path) not in ("", ".", "..")):
        return None
    return f'absolute path of a symbolic link expected, got "{path}"'


def _not_negative(value: int) -> str | None:
    return f"at least 0 expected, got {value}" if value < 0 else None


def _positive(value: float) -> str | None:
    return None if value > 0 else f"more than 0 expected, got {value}"


class OpMirrorTree(OpCode):
    """Keeps a directory tree in step with another until told to complete, or cancelled softly; may switch a link then.

    Copied are files, directories and symbolic links, with mode and time of modification; by root, with the owner too.
    Hard links become files of their own; extended attributes and access control lists are left out.
    """

    OP_ID = "OP_MIRROR_TREE"
    stoppable = True
    restartable = True
    supports_dry_run = True
    summary_parameter = "target"

    source: str = param("absolute path of the directory to read", check=_directory)
    target: str = param("absolute path of the directory to keep in step; made if it is missing", check=_directory)
    speed: int = param("bytes a second to start with; 0 is no limit", default=0, check=_not_negative)
    delete: bool = param("remove from the target what is not in the source", default=True)
    link: str | None = param(
        "absolute path of a symbolic link that leads to the target once completed; a soft cancel leaves it alone",
        default=None,
        check=_link,
    )
    rescan: float = param("seconds between full scans, beside what inotify tells", default=60, check=_positive)

    @classmethod
    def check_parameters(cls, given: Mapping[str, object], title: str, path: str) -> dict[str, object]:
        """See `Parameters.check_parameters`; compares the paths as they are spelled, `exec` looks where they lead."""
        checked = super().check_parameters(given, title, path)
        complaint = _overlap(*(os.path.normpath(str(checked[name])) for name in ("source", "target")))
        if complaint:
            raise refuse(f"{path}.target", complaint)
        if checked.get("link") is not None:
            link = os.path.normpath(str(checked["link"]))
            for name in ("source", "target"):
                if _inside(link, os.path.normpath(str(checked[name]))):
                    raise refuse(f"{path}.link", f"a path outside of {name} expected, got {link}")
        return checked

    def locks(self) -> LockSpec:
        """See `OpCode.locks`."""
        # A name beside it: its own would be looked up, and stands for what the link leads to.
        link = {f"{self.link}.jqueue-link": EXCLUSIVE} if self.link is not None else {}
        return {"file": {**link, self.source: SHARED, self.target: EXCLUSIVE}}

    def start_speed(self) -> int:
        """See `OpCode.start_speed`."""
        return self.speed

    def converges(self) -> bool:
        """See `OpCode.converges`."""
        return True

    def exec(self, ctx: OpContext) -> dict[str, object]:
        """See `OpCode.exec`; the result has files and bytes copied in all, full scans, and whether it was completed."""
        ctx.saved["completed"] = False
        self._refuse()
        rules = Rules(temporary_prefix(ctx.job_id, ctx.op_index), delete=self.delete, owners=os.geteuid() == 0)
        with ExitStack() as stack:
            source = stack.enter_context(_opened(self.source))
            if ctx.dry_run and not os.path.lexists(self.target):
                return self._dry_run(ctx, source, None, rules)
            if not ctx.dry_run:
                with blame(shown(self.target), "made"):
                    os.makedirs(self.target, 0o700, exist_ok=True)
            target = stack.enter_context(_opened(self.target, own=not ctx.dry_run))
            source.forbidden, target.forbidden = target.identity, source.identity
            if ctx.dry_run:
                return self._dry_run(ctx, source, target, rules)
            _recognise(ctx, source, target)
            watch = TreeWatch()
            stack.callback(watch.close)
            mirror = TreeMirror(ctx, source, target, rules, watch, rescan=self.rescan, log_steps=self.debug_level > 0)
            completed = mirror.run() == COMPLETE
        ctx.saved["completed"] = completed
        return {"files": mirror.files, "bytes": mirror.copied, "passes": mirror.passes, "completed": completed}

    def prepare(self, ctx: OpContext) -> None:
        """See `OpCode.prepare`."""
        if ctx.saved.get("completed"):
            self._refuse()

    def commit(self, ctx: OpContext) -> None:
        """See `OpCode.commit`."""
        if self.link is None or not ctx.saved.get("completed"):
            return
        self._refuse_other_than_link(self.link)
        directory = os.path.dirname(self.link)
        temporary = self._temporary_link(ctx, self.link)
        with blame(shown(self.link), "switched"):
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # an earlier call may have got as far as this
            os.symlink(self.target, temporary)
            os.rename(temporary, self.link)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def abort(self, ctx: OpContext) -> None:
        """See `OpCode.abort`; what was copied stays, the next try goes on from there."""
        if "tops" not in ctx.saved:
            return
        if self.link is not None:
            with blame(shown(self.link), "undone"), suppress(FileNotFoundError):
                os.unlink(self._temporary_link(ctx, self.link))
        if os.path.isdir(self.target):
            with _opened(self.target) as target:
                remove_temporary(target, temporary_prefix(ctx.job_id, ctx.op_index))

    def _dry_run(self, ctx: OpContext, source: Tree, target: Tree | None, rules: Rules) -> dict[str, object]:
        files = size = 0
        for directory, step in preview(ctx, source, target, rules):
            ctx.log(describe(self.source, self.target, directory, step))
            if step.what is What.COPY and step.source is not None:
                files += 1
                size += step.source.state.st_size
        return {"files": files, "bytes": size, "passes": 0, "completed": False}

    def _refuse(self) -> None:
        """Looks where the paths lead, before any work and before it is made to count.

        @raise OpExecError: the trees overlap, or the link is in one of them or is no link
        """
        source, target = os.path.realpath(self.source), os.path.realpath(self.target)
        if complaint := _overlap(source, target):
            raise OpExecError(f"{shown(self.target)} cannot be kept in step with {shown(self.source)}: {complaint}")
        if self.link is None:
            return
        link = os.path.join(os.path.realpath(os.path.dirname(self.link)), os.path.basename(self.link))
        for tree in (source, target):
            if _inside(link, tree):
                raise OpExecError(f"{shown(self.link)} is inside {shown(tree)}; choose a link outside of both trees")
        self._refuse_other_than_link(self.link)

    def _refuse_other_than_link(self, link: str) -> None:
        try:
            is_link = stat.S_ISLNK(os.lstat(link).st_mode)
        except FileNotFoundError:
            is_link = os.path.isdir(os.path.dirname(link))
            if not is_link:
                raise OpExecError(f"{shown(link)} cannot be made: there is no such directory; create it") from None
        if not is_link:
            raise OpExecError(f"{shown(link)} exists and is no symbolic link; move it away, or choose another link")

    def _temporary_link(self, ctx: OpContext, link: str) -> str:
        return f"{os.path.dirname(link)}/{temporary_prefix(ctx.job_id, ctx.op_index)}switch.part"


def _inside(path: str, directory: str) -> bool:
    """Whether a path is that of a directory, or of something below it; both without links and dots."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _overlap(source: str, target: str) -> str | None:
    """@return: what is wrong with the two paths, which are without dots"""
    if source == target:
        return f"another directory than the source expected, got {shown(target)}"
    if _inside(target, source):
        return f"a directory outside of the source expected, got {shown(target)}"
    if _inside(source, target):
        return f"a directory that does not hold the source expected, got {shown(target)}"
    return None


@contextmanager
def _opened(path: str, own: bool = False) -> Iterator[Tree]:
    with ExitStack() as stack:
        with blame(shown(path), "opened"):
            tree = stack.enter_context(Tree(path, own))
        yield tree


def _recognise(ctx: OpContext, source: Tree, target: Tree) -> None:
    """Makes sure that a later attempt has the same trees: an empty mount point would have everything removed.

    @raise OpExecError: one of them is another directory
    """
    tops = [source.identity[1], target.identity[1]]
    known = list(ctx.saved.get("tops", tops))
    for tree, now, then in zip((source, target), tops, known, strict=True):
        if now != then:
            raise OpExecError(
                f"{shown(tree.path)} is another directory than in the attempt before (a mount that is missing?);"
                " look what happened, and submit the job again"
            )
    if source.identity == target.identity:
        raise OpExecError(
            f"{shown(source.path)} and {shown(target.path)} are the same directory; choose another target"
        )
    ctx.saved["tops"] = tops
