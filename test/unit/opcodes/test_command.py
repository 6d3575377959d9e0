from __future__ import annotations

import pytest

from jqueue.errors import OpExecError, OpPrereqError
from jqueue.opcodes.command import OpRunCommand
from jqueue.opcodes.fake import FakeContext


def test_the_result_is_the_exit_status() -> None:
    ctx = FakeContext(exit_status=0)
    assert OpRunCommand(argv=["true", "-x"], cwd="/tmp", env={"A": "b"}, stdin="in").exec(ctx) == 0
    assert ctx.commands == [{"argv": ["true", "-x"], "cwd": "/tmp", "env": {"A": "b"}, "stdin": "in"}]


def test_an_exit_status_that_is_named_ok_is_no_failure() -> None:
    assert OpRunCommand(argv=["grep"], ok_exit_codes=[0, 1]).exec(FakeContext(exit_status=1)) == 1


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (3, "grep ended with exit status 3", "exit_status:3"),
        (-9, r"grep was ended by signal 9 \(SIGKILL\)", "signal:9"),
        (-63, "grep was ended by signal 63;", "signal:63"),
    ],
)
def test_another_end_is_a_failure_that_says_how(status: int, text: str, code: str) -> None:
    with pytest.raises(OpExecError, match=text) as raised:
        OpRunCommand(argv=["grep"]).exec(FakeContext(exit_status=status))
    assert raised.value.code == code


def test_a_dry_run_runs_nothing() -> None:
    ctx = FakeContext(dry_run=True)
    assert OpRunCommand(argv=["rm", "a b"], dry_run=True).exec(ctx) == 0
    assert (ctx.commands, ctx.logged) == ([], [("message", "Would run: rm 'a b'")])


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "OP_RUN_COMMAND needs argv"),
        ({"argv": []}, "argv: at least the name of a program expected"),
        ({"argv": [""]}, "argv: at least the name of a program expected"),
        ({"argv": ["a", 7]}, r"argv\[1\]: text expected, got 7"),
        ({"argv": ["a", False]}, "put it in quotes"),
        ({"argv": ["a"], "cwd": "here"}, "cwd: absolute path expected"),
        ({"argv": ["a"], "env": {"A=B": "c"}}, "cannot be the name of a variable"),
        ({"argv": ["a"], "env": {"A": 1}}, "env.A: text expected, got 1"),
        ({"argv": ["a"], "ok_exit_codes": ["0"]}, r"ok_exit_codes\[0\]: whole number expected"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, object], text: str) -> None:
    with pytest.raises(OpPrereqError, match=text):
        OpRunCommand.from_dict(parameters)


def test_the_summary_is_the_command_cut_to_a_readable_length() -> None:
    assert OpRunCommand(argv=["ls", "-l"]).summary() == "RUN_COMMAND(ls -l)"
    assert len(OpRunCommand(argv=["ls", "x" * 1000]).summary()) < 80
