"""Which thread makes which disk call, in which order, and how many there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import MakeDaemon
from .daemon import Daemon, wait_until
from .notes import NOTING, Notes

NOT_FOR_THE_REACTOR = {
    *("fsync", "fdatasync", "sync", "rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir"),
    *("open", "open_code", "truncate", "ftruncate", "posix_fallocate", "sendfile", "copy_file_range"),
    *("pwrite", "pwritev", "writev", "write", "read", "pread", "readv", "readinto"),
    *("listdir", "scandir", "stat", "lstat", "chmod", "utime", "sleep", "fork", "fork_exec", "posix_spawn", "waitpid"),
}
OWNERS = {"posix", "io", "_io", "time", "_posixsubprocess", "FileIO", "BufferedReader", "BufferedWriter"}
ON_PIPES = {"posix.read", "posix.write"}
"""The reactor is woken by a pipe, and reads inotify events; what they are on is looked at one by one."""


def is_disk_call(name: str) -> bool:
    owner, *_, function = name.split(".")
    return owner in OWNERS and function in NOT_FOR_THE_REACTOR


def report(daemon: Daemon, path: Path) -> dict[str, Any]:
    daemon.wait_for(daemon.submit({"OP_ID": "OP_TRACE", "report": str(path)}))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture
def traced(make_daemon: MakeDaemon) -> Iterator[Daemon]:
    daemon = make_daemon({"opcodes": {"modules": ["noting", "tracing"]}, "journal": {"segment_size": "64KiB"}}).start()
    daemon.wait_for(daemon.submit({"OP_ID": "OP_TRACE"}))
    yield daemon


def test_the_reactor_thread_makes_no_disk_call(traced: Daemon, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    pipeline = traced.pipeline()
    numbers = [pipeline.request("SubmitJob", [notes.op()], {"name": f"job {number}"}) for number in range(200)]
    jobs = [answer.result for answer in pipeline.gather(numbers)]
    (tmp_path / "drop").write_text(json.dumps({"name": "dropped", "ops": [notes.op()]}))
    (tmp_path / "drop").rename(traced.state / "incoming" / "drop")
    (tmp_path / "bad").write_text("ops: 7")
    (tmp_path / "bad").rename(traced.state / "incoming" / "bad")
    command = traced.submit({"OP_ID": "OP_RUN_COMMAND", "argv": ["sh", "-c", "seq 1000"]})
    slow = traced.submit({"OP_ID": "OP_TEST_DELAY", "duration": 1000})
    traced.wait_for(slow, "running")
    traced.call("CancelJob", slow)
    traced.call("SetDrainFlag", True, "for the test")
    traced.call("SetDrainFlag", False)
    for job_id in (*jobs, command, slow):
        traced.wait_for(job_id)
    wait_until(lambda: (traced.state / "rejected" / "bad").exists(), "the bad file to be rejected")
    for job_id in jobs[:50]:
        assert traced.call("ArchiveJob", job_id)
    assert traced.call("QueryJobs", [jobs[0]], ["id", "opresult"], None)[0][1]
    assert traced.call("QueryJobLog", command, 0, 1000)
    (traced.state / f"job-{jobs[-1]}").unlink()
    wait_until(lambda: traced.status(jobs[-1]) is None, "the removed job to be forgotten")
    wait_until(lambda: traced.call("QueryStatus")["job_files"]["pending"] == 0, "the job files to be written")
    found = report(traced, tmp_path / "report")
    assert any(name.endswith((".send", ".sendmsg")) for name in found["called"]), "it saw the reactor"
    bad = {name: place for name, place in found["called"].items() if is_disk_call(name) and name not in ON_PIPES}
    assert bad == {}
    by_thread = {(thread, call) for thread, call, _ in found["events"]}
    assert {("journal", "fdatasync"), ("files", "rename"), ("files", "write")} <= by_thread
    for thread, call, target in found["events"]:
        if thread == "MainThread" and call in ("read", "write"):
            assert not target.startswith("/"), f"the reactor has called {call} on {target}"


def test_each_reply_comes_after_the_sync_of_what_it_acknowledges(traced: Daemon, tmp_path: Path) -> None:
    client = traced.connect()
    markers = [f"marker-{number:03d}-" for number in range(50)]
    jobs = [client.call("SubmitJob", [{"OP_ID": "OP_TEST_DUMMY", "not_before": 4e9}], {"name": m}) for m in markers]
    events = report(traced, tmp_path / "report")["events"]
    for marker in markers:
        of_marker = [index for index, (_, _, data) in enumerate(events) if marker in data]
        received = next(index for index in of_marker if events[index][1].startswith("recv"))
        written = next(index for index in of_marker if events[index][:2] == ["journal", "pwrite"])
        synced = next(index for index in range(written, len(events)) if events[index][:2] == ["journal", "fdatasync"])
        replied = next(
            index
            for index in range(received, len(events))
            if events[index][:2] in (["MainThread", "send"], ["MainThread", "sendmsg"])
        )
        assert received < written < synced < replied
    assert len(jobs) == len(set(jobs)) == len(markers)


def test_fifty_pipelining_clients_share_their_syncs(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon({"opcodes": NOTING, "workers": {"size": 1}}).start()
    daemon.submit(Notes(tmp_path / "notes").op(hold=1000, again=True))
    daemon.wait_for(1, "running")
    before = daemon.call("QueryStatus")["journal"]
    clients = [daemon.pipeline() for _ in range(50)]
    numbers = [
        [client.request("SubmitJob", [{"OP_ID": "OP_TEST_DUMMY"}], {"name": f"job {n}"}) for n in range(40)]
        for client in clients
    ]
    for client in clients:
        client.flush()
    ids = [answer.result for client, mine in zip(clients, numbers, strict=True) for answer in client.gather(mine)]
    after = daemon.call("QueryStatus")["journal"]
    assert sorted(ids) == list(range(2, 2002))
    syncs, records = after["syncs"] - before["syncs"], after["records"] - before["records"]
    assert records == len(ids)
    assert syncs < len(ids) / 10
