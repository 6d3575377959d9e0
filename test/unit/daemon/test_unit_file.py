"""The systemd unit: systemd itself reads it without a complaint, and it agrees with the settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from jqueue.config import Config
from jqueue.errors import ConfigurationError

UNIT = Path(__file__).resolve().parents[3] / "daemons" / "jqueued.service"


def directive(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_systemd_accepts_every_directive(tmp_path: Path) -> None:
    unit = tmp_path / "jqueued.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/jqueued", "/bin/true"))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in result.stderr.splitlines() if "jqueued.service" in line]
    assert complaints == []
    assert result.returncode == 0


def test_systemd_waits_longer_than_the_grace_time() -> None:
    assert int(directive("TimeoutStopSec")) > Config().stop.grace


def test_a_bad_configuration_is_not_tried_again() -> None:
    assert int(directive("RestartPreventExitStatus")) == ConfigurationError.exit_status
