from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import jqueue
from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.main import VERBS, build_parser, main

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.GenericError("x"), 1),
        (errors.JobLost("x"), 1),
        (errors.OpPrereqError("x"), 2),
        (errors.DaemonUnreachable("x"), 69),
        (errors.JobQueueDrainError("x"), 75),
        (errors.JobQueueFull("x"), 75),
        (errors.PermissionDenied("x"), 77),
        (errors.ConfigurationError("x"), 78),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_status_follows_the_class_of_the_error(shell: Shell, error: BaseException, status: int) -> None:
    shell.daemon.answers["QueryStatus"] = error
    result = shell("drain")
    assert result.status == status
    assert result.out == ""
    assert result.err == ("" if status == 130 else "jqueue: x\n")


def test_every_exit_status_of_an_error_is_documented() -> None:
    classes = [errors.GenericError]
    for one in classes:
        classes.extend(one.__subclasses__())
        assert one.exit_status in set(Exit)


def test_an_error_is_json_when_json_is_asked_for(shell: Shell) -> None:
    shell.daemon.refuse.append(errors.DaemonUnreachable("no daemon"))
    result = shell("list", "--json")
    assert (result.status, result.out) == (69, "")
    assert json.loads(result.err) == {
        "error": {"class": "DaemonUnreachable", "code": "environment_error", "message": "no daemon"}
    }


def test_json_after_the_two_dashes_belongs_to_the_command(shell: Shell) -> None:
    shell.daemon.answers["SubmitManyJobs"] = errors.JobQueueDrainError("drained")
    assert shell("run", "--", "ls", "--json").err == "jqueue: drained\n"


def test_a_fault_of_our_own_is_one_line_and_never_a_traceback(shell: Shell) -> None:
    shell.daemon.answers["QueryStatus"] = ZeroDivisionError("division by zero")
    result = shell("drain")
    assert result.status == 1
    assert result.err.startswith("jqueue: a fault in jqueue itself: ZeroDivisionError: division by zero;")
    assert result.err.count("\n") == 1


def test_an_unknown_verb_gets_a_suggestion(shell: Shell) -> None:
    result = shell("lsit")
    assert result.status == 2
    assert result.err == "jqueue: there is no verb 'lsit'; did you mean 'list'?; `jqueue --help` shows how it is used\n"


def test_an_unknown_option_names_the_help_of_its_verb(shell: Shell) -> None:
    assert shell("list", "--foo") == (
        2,
        "",
        "jqueue: not understood: --foo; `jqueue list --help` shows what there is\n",
    )


def test_options_may_stand_between_ids(shell: Shell) -> None:
    shell.daemon.answers["ChangeJobPriority"] = [True, "changed"]
    assert shell("priority", "high", "3", "--quiet", "4,5", "--color=never", "6").status == 0
    assert [call[1] for call in shell.daemon.calls] == [3, 4, 5, 6]
    assert shell("priority", "high", "3", "--quiet", "4", "--foo").status == 2


def test_the_socket_comes_from_the_option_then_the_environment(shell: Shell) -> None:
    shell.daemon.jobs()
    shell("list")
    shell.environ["JQUEUE_SOCKET"] = "/run/a.sock"
    shell("list")
    shell("list", "--socket", "/run/b.sock")
    shell("--socket", "/run/c.sock", "list")
    assert shell.daemon.connections == [None, "/run/a.sock", "/run/b.sock", "/run/c.sock"]
    assert shell.daemon.closed == 4


def test_each_verb_has_help_with_one_example_and_its_json(shell: Shell) -> None:
    for verb in VERBS:
        result = shell(verb, "--help")
        assert result.status == 0
        assert f"example:\n  jqueue {verb}" in result.out
        assert "with --json:" in result.out


def test_parsers_can_be_walked_for_the_man_page() -> None:
    actions = [action for action in build_parser()._actions if action.dest == "verb"]
    assert tuple(actions[0].choices or ()) == VERBS


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise io.UnsupportedOperation


def test_a_reader_that_goes_away_is_no_error(shell: Shell) -> None:
    shell.daemon.jobs()
    stderr = io.StringIO()
    status = main(["list"], connect=shell.daemon.connect, stdout=_Broken(), stderr=stderr, environ={})
    assert (status, stderr.getvalue()) == (141, "")


def test_the_command_line_imports_neither_twisted_nor_what_a_verb_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from jqueue.cli.main import main\n"
        "status = main(['list', '--socket', sys.argv[1]])\n"
        "print(status, [name for name in ('twisted', 'asyncio', 'pyinotify', 'yaml') if name in sys.modules])\n"
    )
    lib = str(Path(jqueue.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none.sock")],
        env={**os.environ, "PYTHONPATH": lib},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "69 []\n"
