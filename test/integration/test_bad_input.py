"""Bad input to the real daemon, by each way in: an error that says what is wrong and where, and nothing changed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jqueue.errors import GenericError, OpPrereqError

from .daemon import Daemon, wait_until
from .scene import running
from .tool import jqueue

GOOD: dict[str, object] = {"OP_ID": "OP_TEST_DUMMY"}
DELAY = "OP_TEST_DELAY"
COMMAND = "OP_RUN_COMMAND"


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("bad"), {}) as daemon:
        yield daemon


@pytest.fixture
def daemon(module_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon that goes on after the test, and gives the next good job the next id."""
    before = module_daemon.submit(GOOD)
    yield module_daemon
    assert module_daemon.submit(GOOD) == before + 1
    assert module_daemon.wait_for(before + 1) == "success"
    assert sum(module_daemon.call("QueryStatus")["jobs"].values()) == before + 1


def op(name: str = DELAY, **parameters: object) -> dict[str, object]:
    return {"OP_ID": name, **parameters}


BAD: dict[str, tuple[object, str]] = {
    "unknown opcode": ([op("OP_TEST_DELY")], r"ops\[0\].*: .*OP_TEST_DELY.* did you mean OP_TEST_DELAY"),
    "no opcode": ([GOOD, {"duration": 1}], r"ops\[1\]: OP_ID is missing"),
    "missing parameter": ([GOOD, op()], r"ops\[1\]: OP_TEST_DELAY needs duration"),
    "extra parameter": ([op(duration=1, duraton=2)], r"ops\[0\]\.duraton: .*duration"),
    "text for a number": ([op(duration="1")], r"ops\[0\]\.duration: number expected, got .1"),
    "boolean for a number": ([op(duration=True)], r"ops\[0\]\.duration: number expected, got true"),
    "number out of range": ([op(duration=-1)], r"ops\[0\]\.duration: at least 0 expected, got -1"),
    "ill-typed inside": ([op(COMMAND, argv=["ls", "-l", 7])], r"ops\[0\]\.argv\[2\]: text expected, got 7"),
    "ill-typed in a map": ([op(COMMAND, argv=["ls"], env={"A": None})], r"ops\[0\]\.env\.A: text expected, got null"),
    "not a choice": ([op("OP_MISBEHAVE", how="well")], r"ops\[0\]\.how: .*exit.*well"),
    "relative path": ([op(COMMAND, argv=["ls"], cwd="tmp")], r"ops\[0\]\.cwd: absolute path expected"),
    "priority that is none": ([op(duration=1, priority=21)], r"ops\[0\]\.priority: -20 to 19 expected"),
    "priority in words": ([op(duration=1, priority="high")], r"ops\[0\]\.priority: .*number expected, got .high"),
    "dependency on 0": ([{**GOOD, "depends": [[0, []]]}], r"ops\[0\]\.depends\[0\]\[0\]: job ids start at 1"),
    "dependency on a word": ([{**GOOD, "depends": [["a", []]]}], r"ops\[0\]\.depends\[0\]\[0\]: whole number expected"),
    "status that is none": ([{**GOOD, "depends": [[1, ["done"]]]}], r"ops\[0\]\.depends\[0\]\[1\]\[0\]: .*success"),
    "half a dependency": (
        [{**GOOD, "depends": [1]}],
        r"ops\[0\]\.depends\[0\]: \[job id, \[status, \.\.\.\]\] expected",
    ),
    "dependency to come": ([{**GOOD, "depends": [[10**9, []]]}], r"depends: there is no job 1000000000; the newest"),
    "relative to nothing": ([{**GOOD, "depends": [[-1, []]]}], r"depends: -1 is out of range"),
    "retries of none": ([op(duration=1, retries={"attempts": 0})], r"ops\[0\]\.retries: attempts must be at least 1"),
    "timeout of nothing": ([op(duration=1, timeout=0)], r"ops\[0\]\.timeout: more than 0 seconds expected"),
    "lock without a level": ([{**GOOD, "locks": {"disk": {"a": "shared"}}}], r"ops\[0\]\.locks.*disk"),
    "mode that is none": ([{**GOOD, "locks": {"resource": {"a": "mine"}}}], r"ops\[0\]\.locks.*mine"),
    "opcode that is text": (["OP_TEST_DUMMY"], r"ops\[0\]: .*OP_ID.* expected|ops\[0\]: an opcode expected"),
    "empty job": ([], r"ops: a list|there is no job in it"),
    "empty description": ({"name": "a", "ops": []}, r"ops: a list"),
    "no list of opcodes": ({"ops": {"OP_ID": DELAY}}, r"ops: a list"),
    "unknown key": ({"ops": [GOOD], "pripority": 3}, r"pripority: (unknown|there is no such key)"),
    "name with a slash": ({"name": "a/b", "ops": [GOOD]}, r"name: 'a/b': a name without `/`"),
    "name that is ..": ({"name": "..", "ops": [GOOD]}, r"name: '\.\.': a name without `/`.* and not `\.` or `\.\.`"),
    "name with control characters": ({"name": "a\x1b[2J", "ops": [GOOD]}, r"name: .*control characters"),
    "long name": ({"name": "a" * 257, "ops": [GOOD]}, r"name: 1 to 256 characters expected, it has 257"),
    "many opcodes": ([GOOD] * 100_000, r"ops: a job may have 1000 opcodes, this one has 100000; split it"),
    "large parameter": ([{**GOOD, "comment": "x" * (5 << 20)}], r"52\d+ (bytes|characters).* 4194304"),
    "locks too late": (
        {"ops": [{"OP_ID": "OP_TEST_JQUEUE"}], "auto_finalize": False},
        r"ops\[0\]: OP_TEST_JQUEUE finds out its locks only when it runs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_over_rpc(daemon: Daemon, case: str) -> None:
    job, text = BAD[case]
    with pytest.raises(OpPrereqError, match=text):
        daemon.call("SubmitJob", job)


@pytest.mark.parametrize("case", sorted(set(BAD) - {"dependency to come", "relative to nothing"}))
def test_the_place_of_a_job_among_several(daemon: Daemon, case: str) -> None:
    job, text = BAD[case]
    with pytest.raises(OpPrereqError, match=text) as caught:
        daemon.call("SubmitManyJobs", [[GOOD], job])
    assert "jobs[1]" in str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_on_the_command_line(daemon: Daemon, case: str, tmp_path: Path) -> None:
    job, text = BAD[case]
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    said = jqueue(daemon, "submit", str(file))
    assert (said.status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    matches(text, said.err)


@pytest.mark.parametrize("case", BAD)
def test_dropped_into_incoming(daemon: Daemon, case: str, tmp_path: Path) -> None:
    job, text = BAD[case]
    matches(text, reject(daemon, tmp_path, json.dumps(job).encode(), ".json"))


def matches(text: str, said: str) -> None:
    with pytest.raises(GenericError, match=text):
        raise GenericError(said)


def reject(daemon: Daemon, directory: Path, data: bytes, suffix: str) -> str:
    """Drops a file and waits for its refusal.

    @return: the reason
    """
    file = directory / f"{os.urandom(4).hex()}{suffix}"
    file.write_bytes(data)
    file.rename(daemon.state / "incoming" / file.name)
    reason = daemon.state / "rejected" / f"{file.name}.error"
    wait_until(reason.exists, "the file to be rejected")
    wait_until(lambda: not (daemon.state / "incoming" / file.name).exists(), "the file to be moved")
    assert (daemon.state / "rejected" / file.name).read_bytes() == data
    return reason.read_text()


# What only a text can be

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)

BAD_TEXT: dict[str, tuple[bytes, str]] = {
    "10 MB": (b"ops:\n" + b"- {OP_ID: OP_TEST_DUMMY}\n" * 400_000, r"10000005 bytes, .*4194304 are (taken|allowed)"),
    "invalid UTF-8": (b"name: \xff\xfe", r"byte 6 is not UTF-8"),
    "deep nesting": (b"[" * 100_000, r"nested deeper than 32 levels"),
    "deep nesting in a parameter": (b"ops: [{OP_ID: OP_TEST_DUMMY, result: " + b"[" * 50, r"nested deeper than 32"),
    "anchors that explode": (BOMB.encode(), r"alias"),
    "not YAML": (b"ops: [\n  {OP_ID: OP_TEST_DUMMY", r"this is not YAML"),
    "key twice": (b"ops: []\nops: []", r":2: the key 'ops' is there twice"),
    "norway": (b"ops:\n- OP_ID: OP_RUN_COMMAND\n  argv: [echo, no]\n", r"ops\[0\]\.argv\[1\]: text expected.* quote"),
    "no text": (b"\x00\x01\x02", r"job\.yaml|\.yaml"),
    "nothing": (b"", r"there is no job in it"),
    "python object": (b"!!python/object/apply:os.system [id]", r"is not taken"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text_on_the_command_line(daemon: Daemon, case: str, tmp_path: Path) -> None:
    data, text = BAD_TEXT[case]
    file = tmp_path / "job.yaml"
    file.write_bytes(data)
    said = jqueue(daemon, "submit", str(file))
    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
    matches(text, said.err)


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text_dropped_into_incoming(daemon: Daemon, case: str, tmp_path: Path) -> None:
    data, text = BAD_TEXT[case]
    matches(text, reject(daemon, tmp_path, data, ".yaml"))


# What only a message can be


def packed(parameter: bytes) -> bytes:
    """A message that submits a job with a result packed by hand."""
    ops = b"\x91\x82" + msgpack.packb("OP_ID") + msgpack.packb("OP_TEST_DUMMY") + msgpack.packb("result") + parameter
    return b"\x94\x00\x01" + msgpack.packb("SubmitJob") + b"\x91" + ops


BAD_MESSAGES: dict[str, tuple[bytes, str]] = {
    "invalid UTF-8": (packed(b"\xa2\xff\xfe"), r"ops\[0\]\.result.*UTF-8|UTF-8"),
    "deep nesting": (packed(b"\x91" * 40 + b"\xc0"), r"nested|deep"),
    "bottomless nesting": (packed(b"\x91" * 100_000 + b"\xc0"), r"nested|deep"),
    "binary": (packed(b"\xc4\x01a"), r"ops\[0\]\.result.*(binary|bytes)"),
    "not a number": (packed(b"\xcb\x7f\xf8" + b"\0" * 6), r"ops\[0\]\.result.*(nan|finite)"),
    "map key that is no text": (packed(b"\x81\x01\x02"), r"int is not allowed for map key"),
    "extension": (packed(b"\xd4\x05a"), r"ext|result"),
    "10 MB": (packed(b"\xdb\x00\x98\x96\x80" + b"x" * 10_000_000), r"8388608 bytes"),
    "too many arguments": (msgpack.packb([0, 1, "SubmitJob", [[GOOD], {}, 3]]), r"SubmitJob"),
    "unknown option": (msgpack.packb([0, 1, "SubmitJob", [[GOOD], {"nmae": "a"}]]), r"nmae.*name"),
    "group of one": (msgpack.packb([0, 1, "SubmitJob", [[GOOD], {"group": True}]]), r"group"),
    "empty request id": (msgpack.packb([0, 1, "SubmitJob", [[GOOD], {"request_id": ""}]]), r"request_id: text of 1"),
    "no jobs": (msgpack.packb([0, 1, "SubmitManyJobs", [[]]]), r"jobs: at least one job is needed"),
    "unknown method": (msgpack.packb([0, 1, "SubmitJobs", []]), r"SubmitJobs.*SubmitJob"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_messages(daemon: Daemon, case: str) -> None:
    data, text = BAD_MESSAGES[case]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(daemon.socket))
        try:
            client.sendall(data)
        except BrokenPipeError:
            pass  # it was refused before its end
        matches(text, str(answer(client)))


def answer(client: socket.socket) -> Any:
    """Reads the error of a refused request."""
    unpacker = msgpack.Unpacker()
    while True:
        data = client.recv(65536)
        assert data, "closed without an answer"
        unpacker.feed(data)
        for message in unpacker:
            error = message[2] if message[0] == 1 else message[2][0]
            assert error is not None, f"not refused: {message}"
            return error
