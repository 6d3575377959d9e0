"""`jqueued` as a command: its options, and the exit status of every start that cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jqueue import __version__
from jqueue.daemon import main as daemon
from jqueue.store.files import Files
from jqueue.store.statedir import DirectoryLock, StateDirectory

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs jqueued with arguments; gives its exit status and what it said on stderr."""
    monkeypatch.setattr("jqueue.daemon.logs.start", lambda log_format, log_level: None)
    monkeypatch.chdir(tmp_path)
    for variable in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))

    def call(*arguments: str | Path) -> tuple[int, str]:
        status = daemon.main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert output.out == ""
        return status, output.err

    return call


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "jqueued.yaml"
        path.write_text(text)
        return path

    return write


# Options


def test_without_options_all_is_left_to_the_defaults() -> None:
    options = daemon.parser().parse_args([])
    assert (options.config, options.state_dir, options.runtime_dir, options.check_config) == (None, None, None, False)


def test_the_version_is_told_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        daemon.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"jqueued {__version__}\n"


@pytest.mark.parametrize("arguments", (["--no-such-option"], ["a-word"], ["--state-dir"]))
def test_options_that_cannot_be_understood_are_a_mistake_in_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        daemon.main(arguments)
    assert ended.value.code == 2
    assert "usage: jqueued" in capsys.readouterr().err


def test_the_program_ends_with_the_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["jqueued", "--check-config", "--config", str(tmp_path / "missing")])
    with pytest.raises(SystemExit) as ended:
        daemon.entry()
    assert ended.value.code == 78


# The configuration


def test_a_valid_configuration_is_checked_without_a_word_and_without_touching_the_state(
    run: Run, config: Callable[[str], Path], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    assert run("-c", config("workers: {size: 3}"), "--state-dir", state, "--check-config") == (0, "")
    assert not state.exists()


def test_no_configuration_is_a_valid_one(run: Run) -> None:
    assert run("--check-config") == (0, "")


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("workers: {size: none}", "workers.size"),
        ("wokers: {}", "did you mean workers?"),
        ("workers: [", "jqueued.yaml"),
        ("opcodes: {modules: [there_is_no_such_module]}", "there_is_no_such_module"),
    ),
)
def test_a_mistake_in_the_configuration_is_said_and_ends_with_78(
    run: Run, config: Callable[[str], Path], text: str, said: str
) -> None:
    status, error = run("--check-config", "-c", config(text))
    assert status == 78
    assert error.startswith("jqueued: ") and said in error


def test_a_mistake_in_the_configuration_is_found_before_the_state_is_touched(
    run: Run, config: Callable[[str], Path], tmp_path: Path
) -> None:
    status, _ = run("-c", config("workers: {size: 0}"), "--state-dir", tmp_path / "state")
    assert (status, (tmp_path / "state").exists()) == (78, False)


@pytest.mark.parametrize("name", ("missing.yaml", "."))
def test_a_configuration_that_cannot_be_read_is_named(run: Run, tmp_path: Path, name: str) -> None:
    status, error = run("--check-config", "-c", tmp_path / name)
    assert status == 78
    assert str(tmp_path / name) in error


# The directories


def test_a_file_where_the_state_directory_should_be_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("something else")
    status, error = run("--state-dir", tmp_path / "state")
    assert status == 1
    assert error.startswith(f"jqueued: the state directory {tmp_path / 'state'} cannot be used")
    assert (tmp_path / "state").read_text() == "something else"


def test_without_an_option_the_state_is_where_the_user_keeps_such(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    status, error = run()
    assert status == 1
    assert str(tmp_path / "home" / "jqueue") in error


def test_a_relative_directory_is_told_in_full(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    status, error = run("--state-dir", "state")
    assert status == 1
    assert str(tmp_path / "state") in error


def test_a_directory_that_another_daemon_uses_is_left_to_it(run: Run, tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.prepare(Files())
    (state.tmp / "of the other").touch()
    lock = DirectoryLock(state)
    lock.acquire()
    status, error = run("--state-dir", state.path)
    lock.release()
    assert status == 1
    assert f"process {os.getpid()}" in error
    assert (state.tmp / "of the other").exists()


def test_a_runtime_directory_that_cannot_be_made_is_named_and_the_state_is_free_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, error = run("--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "file" / "run")
    assert status == 1
    assert str(tmp_path / "file" / "run") in error
    lock = DirectoryLock(StateDirectory(tmp_path / "state"))
    lock.acquire()
    lock.release()
