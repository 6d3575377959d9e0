"""Where the queue and its sockets are when nobody says so.

Apart from the settings, because every command needs this and must not wait for a YAML parser to be loaded.
"""

from __future__ import annotations

import os
from pathlib import Path


def default_state_dir() -> Path:
    """Says where the queue lives when nobody says so: systemd's directory for the service, else the user's own."""
    if directory := os.environ.get("STATE_DIRECTORY"):
        return Path(directory.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "jqueue"


def default_runtime_dir(state_dir: Path | None = None) -> Path:
    """Says where the sockets are when nobody says so.

    @param state_dir: the queue's directory in use, which has them below itself where the user has no directory for such
    """
    if directory := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(directory.split(":")[0])
    if directory := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(directory) / "jqueue"
    return (state_dir or default_state_dir()) / "sockets"
