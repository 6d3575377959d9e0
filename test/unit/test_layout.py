"""The shape of the code: who may import whom, how long a file may be, and what no module may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lib" / "jqueue"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module imports only from those before its own, and from its own.
LAYERS = (
    "errors directories yamltext config turns watch jobs opcodes locks events store workers sched rpc client cli daemon"
).split()
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(), str(module))


def layer(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Gives the full name of everything that a module imports, anywhere in it."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def names(module: Path) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def where(module: Path) -> str:
    return str(module.relative_to(ROOT))


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(module) for module in MODULES} - {"__init__"} <= set(LAYERS)


def test_imports_point_to_earlier_layers_only() -> None:
    found = []
    for module in MODULES:
        allowed = set(LAYERS[: LAYERS.index(layer(module)) + 1]) if layer(module) in LAYERS else set()
        for name in imports(module):
            package, target = [*name.split("."), ""][:2]
            if package == "" or (package == "jqueue" and target in LAYERS and target not in allowed):
                found.append(f"{where(module)} imports {name}")
    assert found == []


def test_only_the_daemon_knows_the_global_reactor() -> None:
    found = [
        f"{where(module)} imports {name}"
        for module in MODULES
        for name in imports(module)
        if name.startswith("twisted.internet.reactor") and layer(module) != "daemon"
    ]
    assert found == []


def test_nothing_uses_the_thread_pool_of_the_reactor() -> None:
    forbidden = {"deferToThread", "deferToThreadPool", "callInThread", "callInThreadWithCallback", "getThreadPool"}
    assert [f"{where(module)}: {name}" for module in MODULES for name in names(module) if name in forbidden] == []


def test_only_watch_imports_pyinotify() -> None:
    users = {where(module) for module in MODULES for name in imports(module) if name.split(".")[0] == "pyinotify"}
    assert users <= {"lib/jqueue/watch.py"}


def test_no_file_is_too_long() -> None:
    lengths = {where(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    found = []
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append(f"{where(module)}: {node.name} has {lines} lines")
    assert found == []


def test_every_module_says_what_lives_in_it() -> None:
    assert [where(module) for module in MODULES if not ast.get_docstring(tree(module))] == []


def test_no_checker_is_silenced_and_nothing_is_left_to_do() -> None:
    words = ["type: " + "ignore", "no" + "qa", "TO" + "DO", "FIX" + "ME", "XX" + "X"]
    files = [*MODULES, *(ROOT / "test").rglob("*.py")]
    assert [f"{where(file)}: {word}" for file in files for word in words if word in file.read_text()] == []


@pytest.mark.parametrize("module", ["jqueue.config", "jqueue.jobs.description", "jqueue.cli.main"])
def test_what_commands_need_does_not_load_twisted(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in sys.modules if name.split('.')[0] == 'twisted'])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT / "lib"
    )
    assert result.stderr == ""
    assert result.stdout.split() == []


def test_no_command_imports_twisted_later_on() -> None:
    found = [
        where(module) for module in MODULES if layer(module) == "cli" for name in imports(module) if "twisted" in name
    ]
    assert found == []
