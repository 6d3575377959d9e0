"""Every shell block of the pages for users runs as it stands, in order, one shell a page, against a real daemon.

Blocks marked `sh` are run, `console` are not (they need root). A `text` block behind the comment `shows` gives lines
that the shell block before it must have written, in this order; anything may be between them.
A page that starts no daemon finds one running, with a failed job 1 in it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("README.md"),
    *sorted((ROOT / "doc" / "tutorial").glob("*.md")),
    *sorted((ROOT / "doc" / "howto").glob("*.md")),
    ROOT / "doc" / "reference" / "wire.md",
    ROOT / "doc" / "explanation" / "locks.md",
]
_BLOCK = re.compile(r"^(?P<shows><!-- shows -->\n)?^```(?P<kind>sh|text)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_STARTS_DAEMON = re.compile(r"\bjqueued\b[^\n&]*&(?!&)")
_START = "jqueued 2>jqueued.log & daemon=$!\n"
_WAIT = "for i in $(seq 100); do ! jqueue -q drain >/dev/null 2>&1 || break; sleep 0.1; done\n"
_PATIENCE = 100
SET_UP = ("make", "git", "apt")
"""Programs that set things up; `.ci/run` calls them for real."""


class Page:
    """The shell blocks of a page, and what each must show."""

    def __init__(self, path: Path) -> None:
        self.blocks: list[str] = []
        self.shows: dict[int, list[str]] = {}
        for block in _BLOCK.finditer(path.read_text()):
            if block["kind"] == "sh":
                self.blocks.append(block["text"])
            elif block["shows"]:
                self.shows[len(self.blocks) - 1] = block["text"].splitlines()

    def script(self) -> str:
        """Gives the script that runs them all, each announced by a line of its own."""
        own_daemon = any(map(_STARTS_DAEMON.search, self.blocks))
        lines = ["set -e\n"] if own_daemon else [f"set -e\n{_START}{_WAIT}jqueue run --follow -- false || true\n"]
        for number, block in enumerate(self.blocks):
            lines.append(f"echo; echo '=== block {number}'; sleep 0.3\n{block}")
            if _STARTS_DAEMON.search(block):
                lines.append(_WAIT)
        return "".join([*lines, "echo; echo '=== end'\n", "" if own_daemon else "kill $daemon; wait $daemon\n"])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home directory, in which whatever was started is ended afterwards."""
    home = tmp_path / "home"
    home.mkdir()
    yield home
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mine = os.fsencode(f"HOME={home}") in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if mine:
            os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory for the socket, whose path has to be short."""
    directory = Path(tempfile.mkdtemp(prefix="jq-"))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shell_blocks_run(path: Path, home: Path, runtime: Path, tmp_path: Path) -> None:
    page = Page(path)
    assert page.blocks, f"{path} has no shell block"
    work = tmp_path / "work"
    commands = tmp_path / "bin"
    work.mkdir()
    commands.mkdir()
    for name in ("examples", "daemons", "tools", "doc"):
        (work / name).symlink_to(ROOT / name)
    (work / ".venv").symlink_to(sys.prefix)
    for name in SET_UP:
        (commands / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (commands / name).chmod(0o755)
    environment = {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "JQUEUE_SOCKET": str(runtime / "jqueue" / "rpc.sock"),
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LANG": "C.UTF-8",
    }
    with (tmp_path / "output").open("w+b") as output:
        shell = subprocess.run(
            ["bash", "-c", page.script()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=work,
            timeout=_PATIENCE,
        )
        output.seek(0)
        said = output.read().decode(errors="replace")
    assert "=== end" in said, said
    assert shell.returncode == 0, said
    for number, lines in page.shows.items():
        shown = said.partition(f"=== block {number}\n")[2].partition(f"=== block {number + 1}\n")[0]
        rest = _squeezed(shown)
        for line in lines:
            _, found, rest = rest.partition(_squeezed(line))
            assert found, f"not shown, or not in this order: {line}\n{shown}"


def _squeezed(text: str) -> str:
    return " ".join(text.split())
