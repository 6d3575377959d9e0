"""The settings: what is read, what is refused and with which words, and that the documents say what the code does."""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import pytest

from jqueue.config import Config, load, parse
from jqueue.directories import default_runtime_dir, default_state_dir
from jqueue.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    (section.name, setting.name, setting.metadata["default"], setting.metadata["doc"])
    for section in dataclasses.fields(Config)
    for setting in dataclasses.fields(getattr(Config(), section.name))
]


def written(default: object) -> str:
    return "null" if default is None else str(default)


def refused(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "c.yaml")
    assert caught.value.exit_status == 78
    return caught.value.text


def test_no_file_means_all_defaults() -> None:
    assert load(None) == Config()
    assert Config().queue.archive_after == 6 * 3600
    assert Config().queue.max_job_size == 4 * 2**20
    assert Config().rpc.socket_mode == 0o660
    assert Config().command.run_as is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "workers:\n", "---\n"])
def test_an_empty_file_or_section_means_all_defaults(text: str) -> None:
    assert parse(text, "c.yaml") == Config()


def test_a_setting_changes_only_itself() -> None:
    config = parse("queue:\n  max_finished: 7\nworkers: {size: 3}\n", "c.yaml")
    assert config.queue == dataclasses.replace(Config().queue, max_finished=7)
    assert config.workers.size == 3
    assert config.rpc == Config().rpc


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("0.5", 0.5), ("6h", 21600), ("1h30m", 5400), ("500ms", 0.5), ("7d", 604800)]
)
def test_durations_are_seconds_or_text_with_units(written: str, seconds: float) -> None:
    assert parse(f"stop: {{grace: {written}}}", "c.yaml").stop.grace == seconds


@pytest.mark.parametrize(("written", "octets"), [("5000", 5000), ("64MiB", 2**26), ("1 GiB", 2**30), ("8192B", 8192)])
def test_sizes_are_bytes_or_text_with_units(written: str, octets: int) -> None:
    assert parse(f"log: {{cap: {written}}}", "c.yaml").log.cap == octets


@pytest.mark.parametrize("written", ["0600", "'0600'", "'600'", "0o600"])
def test_a_mode_is_octal_however_it_is_written(written: str) -> None:
    assert parse(f"rpc: {{socket_mode: {written}}}", "c.yaml").rpc.socket_mode == 0o600


def test_users_are_names_or_uids() -> None:
    me = pwd.getpwuid(os.getuid())
    config = parse(f"roles: {{admins: [{me.pw_name}, 4711]}}\ncommand: {{run_as: {me.pw_name}}}", "c.yaml")
    assert config.roles.admins == {me.pw_uid, 4711}
    assert config.command.run_as == me.pw_name


def test_lists_and_maps_are_read() -> None:
    config = parse("locks: {capacities: {resource/tape: 2}}\nopcodes: {modules: [site.ops]}", "c.yaml")
    assert dict(config.locks.capacities) == {"resource/tape": 2}
    assert config.opcodes.modules == ("site.ops",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("worker: {size: 1}", "c.yaml: worker: there is no such setting; did you mean workers?"),
        ("workers: {sice: 1}", "c.yaml: workers.sice: there is no such setting; did you mean workers.size?"),
        ("workers: {zzz: 1}", "known here: size"),
        ("workers: {size: ten}", "c.yaml: workers.size: a whole number of 1 or more expected, got 'ten'"),
        ("workers: {size: 0}", "workers.size: a whole number of 1 or more expected, got 0"),
        ("workers: {size: true}", "got True"),
        ("workers: 5", "c.yaml: workers: a map expected, got 5"),
        ("[1]", "c.yaml: the file: a map expected, got [1]"),
        ("stop: {grace: soon}", "stop.grace: a duration expected"),
        ("stop: {grace: -1}", "stop.grace: a duration expected"),
        ("stop: {grace: no}", "stop.grace: a duration expected"),
        ("log: {cap: 1GB}", "log.cap: a size of 4KiB or more expected"),
        ("log: {cap: 100}", "log.cap: a size of 4KiB or more expected"),
        ("rpc: {socket_mode: 660}", "rpc.socket_mode: permissions of a file expected, in octal: 0660"),
        ("rpc: {socket_group: no-such-group}", "this machine has no group of that name, got 'no-such-group'"),
        ("command: {run_as: no-such-user}", "command.run_as: this machine has no user of that name"),
        ("command: {run_as: [x]}", "command.run_as: the name of a user expected"),
        ("roles: {readers: anna}", "roles.readers: a list of user names or uids expected"),
        ("roles: {readers: [no-such-user]}", "this machine has no user 'no-such-user'"),
        ("roles: {readers: [1.5]}", "it holds 1.5"),
        ("locks: {capacities: {tape: 2}}", "the name of a lock, level/name, expected instead of 'tape'"),
        ("locks: {capacities: {resource/tape: 0}}", "locks.capacities: a whole number of 1 or more expected"),
        ("locks: {capacities: 3}", "locks.capacities: a map from level/name"),
        ("opcodes: {modules: site.ops}", "opcodes.modules: a list of names of Python modules expected"),
        ("daemon: {log_format: xml}", "daemon.log_format: one of text, json expected, got 'xml'"),
        ("workers: {size: 1}\nworkers: {size: 2}", "c.yaml:2: the key 'workers' is there twice"),
        ("workers: {}\n---\nqueue: {}", "one YAML document expected, it holds 2"),
        ("workers: {", "c.yaml:2: column 1: this is not YAML"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(text: str, words: str) -> None:
    assert words in refused(text)


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="gone.yaml: cannot be read: No such file"):
        load(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigurationError, match="latin.yaml: byte 5 is not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_the_example_file_holds_every_default() -> None:
    path = ROOT / "examples" / "jqueue.yaml"
    text = path.read_text()
    assert load(path) == Config()
    for _, name, default, doc in SETTINGS:
        assert f"  # {doc}\n  {name}: {written(default)}\n" in text


def test_the_reference_page_lists_every_setting() -> None:
    page = (ROOT / "doc" / "reference" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{section}.{name}` | `{written(default)}` | {doc} |" for section, name, default, doc in SETTINGS
    ]


def test_the_directories_of_systemd_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/jqueue:/var/lib/other")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/jqueue")
    assert default_state_dir() == Path("/var/lib/jqueue")
    assert default_runtime_dir() == Path("/run/jqueue")


def test_without_systemd_the_directories_are_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/anna")
    assert default_state_dir() == Path("/home/anna/.local/state/jqueue")
    assert default_runtime_dir() == Path("/home/anna/.local/state/jqueue/sockets")
    assert default_runtime_dir(Path("/srv/q")) == Path("/srv/q/sockets")
    monkeypatch.setenv("XDG_STATE_HOME", "/data")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_state_dir() == Path("/data/jqueue")
    assert default_runtime_dir() == Path("/run/user/7/jqueue")
