from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import cast

import pytest

from jqueue.errors import ConfigurationError, OpPrereqError
from jqueue.opcodes import registry as registry_module
from jqueue.opcodes.base import OpCode, OpContext
from jqueue.opcodes.registry import Registry, default_registry
from jqueue.opcodes.testing import OpTestDelay

MODULE = """
from jqueue.opcodes.base import OpCode, param
from jqueue.opcodes.testing import OpTestDelay

class OpMine(OpCode):
    OP_ID = "OP_MINE"
    words: list[str] = param("which", default_factory=list)
    def exec(self, ctx):
        return self.words
"""


class OpNothing(OpCode):
    OP_ID = "OP_NOTHING"


def opcode(op_id: str) -> type[OpCode]:
    class Made(OpCode):
        OP_ID = op_id

        def exec(self, ctx: OpContext) -> None:
            ctx.log(self.OP_ID)

    return Made


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_built_in_opcodes_are_there() -> None:
    assert [cls.OP_ID for cls in default_registry()] == [
        "OP_COPY_FILE",
        "OP_MIRROR_TREE",
        "OP_RUN_COMMAND",
        "OP_TEST_DELAY",
        "OP_TEST_DUMMY",
        "OP_TEST_JQUEUE",
        "OP_TEST_LIFECYCLE",
    ]


def test_a_map_becomes_an_opcode_of_its_class() -> None:
    op = default_registry().parse({"OP_ID": "OP_TEST_DELAY", "duration": 1.0}, "ops[2]")
    assert isinstance(op, OpTestDelay)
    assert op.duration == 1.0


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (7, "ops[2]: map with OP_ID expected, got 7"),
        ({}, "ops[2]: OP_ID is missing; it names the opcode, such as OP_RUN_COMMAND"),
        ({"OP_ID": 7}, "ops[2]: OP_ID must be text, got 7; it names the opcode, such as OP_RUN_COMMAND"),
        ({"OP_ID": "OP_TEST_DELYA"}, 'ops[2].OP_ID: unknown opcode "OP_TEST_DELYA"; did you mean OP_TEST_DELAY?'),
        ({"OP_ID": "OP_TEST_DELAY"}, "ops[2]: OP_TEST_DELAY needs duration (seconds to sleep)"),
    ],
)
def test_a_bad_map_is_refused_with_its_path(mapping: object, text: str) -> None:
    with pytest.raises(OpPrereqError) as caught:
        default_registry().parse(mapping, "ops[2]")
    assert str(caught.value) == text


def test_an_unknown_name_like_no_other_is_refused_with_the_list() -> None:
    with pytest.raises(OpPrereqError, match="known are OP_COPY_FILE, OP_MIRROR_TREE, OP_RUN_COMMAND"):
        default_registry().get("x" * 1_000_000)


@pytest.mark.parametrize("op_id", ["", "MINE", "OP_mine", "OP_", "OP_MINE\n", "OP_MÜ"])
def test_a_name_of_another_form_is_refused(op_id: str) -> None:
    with pytest.raises(ConfigurationError, match="is not of the form"):
        Registry().add(opcode(op_id))


def test_a_class_without_exec_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="OpNothing: it has no exec method"):
        Registry().add(cast(type[OpCode], OpNothing))


def test_a_taken_name_is_refused_with_who_has_it() -> None:
    registry = default_registry()
    with pytest.raises(ConfigurationError, match="is already the name of jqueue.opcodes.testing.OpTestDelay"):
        registry.add(opcode("OP_TEST_DELAY"))
    assert registry.get("OP_TEST_DELAY") is OpTestDelay


def test_adding_a_class_again_changes_nothing() -> None:
    registry = default_registry()
    registry.add(OpTestDelay)
    assert registry.get("OP_TEST_DELAY") is OpTestDelay


def test_a_configured_module_adds_its_own_opcodes_and_not_those_it_imports(importable: Path) -> None:
    (importable / "site_mine.py").write_text(MODULE)
    registry = Registry()
    registry.load(None, ["site_mine"])
    assert [cls.OP_ID for cls in registry] == ["OP_MINE"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import nonexistent_thing", "ModuleNotFoundError: No module named 'nonexistent_thing'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "has no opcodes"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(importable: Path, text: str, complaint: str) -> None:
    (importable / "site_broken.py").write_text(text)
    sys.modules.pop("site_broken", None)
    with pytest.raises(ConfigurationError) as caught:
        default_registry(["site_broken"])
    assert str(caught.value).startswith("The opcode module site_broken ")
    assert complaint in str(caught.value)


def test_entry_points_name_classes_and_modules(importable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (importable / "site_entry.py").write_text(MODULE)
    entry = EntryPoint("mine", "site_entry:OpMine", "jqueue.opcodes")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [entry])
    registry = default_registry(["site_entry"])
    assert registry.get("OP_MINE").OP_ID == "OP_MINE"


def test_an_entry_point_that_is_no_opcode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "pathlib:Path", "jqueue.opcodes")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [entry])
    with pytest.raises(ConfigurationError, match="The entry point mine = pathlib:Path is a class that is not derived"):
        default_registry()
