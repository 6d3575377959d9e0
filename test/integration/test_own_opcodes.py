"""The worked example of own opcodes works as its README says."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from jqueue.opcodes import registry
from jqueue.opcodes.registry import default_registry

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_opcodes"


def test_its_entry_point_and_its_module_give_the_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    setup = configparser.ConfigParser()
    setup.read(EXAMPLE / "setup.cfg")
    name, _, value = setup["options.entry_points"][registry.GROUP].strip().partition(" = ")
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(name, value, group)])
    found = default_registry(["site_opcodes"])
    assert found.get("OP_WAIT_FOR_PORT").stoppable
    assert found.get("OP_LIST_CHECKSUMS").has_callbacks()


def test_its_own_tests_pass() -> None:
    path = os.pathsep.join([str(EXAMPLE), str(ROOT / "lib")])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "test")],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout
