"""A small disk for tests that fill it: a tmpfs in a mount namespace of its own, gone with the process that holds it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

_CHUNK = bytes(65536)


class SmallDisk:
    """A disk that only processes started with `wrapper` see at `path`; users may have one as well as root."""

    def __init__(self, path: Path, megabytes: int) -> None:
        path.mkdir()
        self.path = path
        script = f"mount -t tmpfs -o size={megabytes}m,mode=755 tmpfs {path} && echo mounted && exec sleep 1000000"
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._holder = subprocess.Popen(
            ["unshare", *user, "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._holder.stdout is not None
        with self._holder.stdout as told:
            assert told.readline() == b"mounted\n", "the test needs unshare(1) and the right to mount a tmpfs"
        enter_user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.wrapper = ["nsenter", "--target", str(self._holder.pid), *enter_user, "--mount"]
        self.seen = Path(f"/proc/{self._holder.pid}/root{path}")
        """The disk, as the test sees it."""

    def fill(self) -> None:
        """Leaves no byte free."""
        with open(self.seen / "filler", "ab", buffering=0) as filler:
            for size in (len(_CHUNK), 4096, 1):
                try:
                    while filler.write(_CHUNK[:size]):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Gives the space back."""
        (self.seen / "filler").unlink()

    def close(self) -> None:
        """Removes the disk once nobody uses it."""
        self._holder.kill()
        self._holder.wait()
