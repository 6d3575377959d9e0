"""Dropping a job description into a queue's `incoming/` so that it is submitted exactly once, daemon or not."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from jqueue import errors


def drop(state: Path, data: bytes, suffix: str) -> Path:
    """Puts a description into `incoming/`, whole and durable, or not at all.

    @param suffix: of the file's name, such as `.yaml`
    @return: the file
    @raise errors.StateError: if it cannot be written
    """
    incoming = state / "incoming"
    name = f"{secrets.token_hex(8)}{suffix}"
    hidden, final = incoming / f".{name}", incoming / name
    try:
        # The daemon ignores dotfiles, and sees the rename.
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.rename(hidden, final)
        except OSError:
            hidden.unlink(missing_ok=True)
            raise
        _sync_directory(incoming)
    except OSError as error:
        hint = "is this the state directory of a queue? name it with --state-dir"
        raise errors.StateError(f"{final}: cannot be written: {error.strerror}; {hint}") from error
    return final


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
