"""An opcode with everything: locks, progress, a speed limit, and a result that appears as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from jqueue.errors import OpExecError
from jqueue.opcodes.base import EXCLUSIVE, SHARED, LockSpec, OpCode, OpContext, param

CHUNK = 1 << 20


def _check_path(path: str) -> str | None:
    return None if path.startswith("/") else f'absolute path expected, got "{path}"'


class OpListChecksums(OpCode):
    """Writes the checksums of all files of a directory into one list, in the form that `sha256sum -c` reads."""

    OP_ID = "OP_LIST_CHECKSUMS"
    stoppable = True
    restartable = True
    supports_dry_run = True
    summary_parameter = "directory"

    directory: str = param("absolute path of the directory to read", check=_check_path)
    target: str = param("absolute path of the list; an older one is replaced", check=_check_path)
    algorithm: str = param("how to sum", default="sha256", choices=["sha256", "sha512"])
    skip: list[str] = param("endings of names to leave out, such as .tmp", default_factory=list)

    def locks(self) -> LockSpec:
        """The queue runs nothing that changes the directory, or that writes the list, at the same time."""
        return {"file": {self.directory: SHARED, self.target: EXCLUSIVE}}

    def exec(self, ctx: OpContext) -> dict[str, int]:
        """Does the work beside the target, where nobody sees it."""
        files = self._files()
        total = sum(path.stat().st_size for path in files)
        if ctx.dry_run:
            return {"files": len(files), "bytes": total}
        # Durable before the file exists: after a crash, abort knows what to remove.
        ctx.saved["partial"] = partial = f"{self.target}.{ctx.job_id}.part"
        done = 0
        with open(partial, "w", encoding="utf-8") as output:
            for path in files:
                digest = hashlib.new(self.algorithm)
                with path.open("rb") as source:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        done += len(chunk)
                        ctx.progress(done, total, path.name)
                        ctx.throttle(len(chunk))  # the job's speed limit; a pause or a cancel acts here
                output.write(f"{digest.hexdigest()}  {path}\n")
            output.flush()
            os.fsync(output.fileno())
        ctx.log(f"Summed {len(files)} files")
        return {"files": len(files), "bytes": done}

    def prepare(self, ctx: OpContext) -> None:
        """The last moment to refuse."""
        if os.path.isdir(self.target):
            raise OpExecError(f"{self.target} is a directory; name a file")

    def commit(self, ctx: OpContext) -> None:
        """Only flips, and may run twice: the second time there is nothing left to rename."""
        partial = ctx.saved.get("partial")
        if partial is not None and os.path.exists(partial):
            os.replace(partial, self.target)

    def abort(self, ctx: OpContext) -> None:
        """Undoes whatever exec got done, also after a crash."""
        if "partial" in ctx.saved:
            Path(ctx.saved["partial"]).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if not os.path.isdir(self.directory):
            raise OpExecError(f"{self.directory} is no directory; correct the parameter directory")
        found = (path for path in Path(self.directory).rglob("*") if path.is_file())
        return sorted(path for path in found if not path.name.endswith(tuple(self.skip)))
