"""Recordings are made small without losing what the replay looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import condense
from .replay.recording import Recording
from .replay.rows import cases, read
from .replay.script import Script
from .replay.story import Event

STAMP = {"seconds": 1, "microseconds": 2}
VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Somebody's 7.2"}
RAW: list[dict[str, Any]] = [
    {"kind": "note", "text": "launch", "argv": ["/usr/bin/qemu", "DIR/qmp.sock"]},
    {"kind": "greeting", "conn": "A", "msg": {"QMP": {"version": VERSION, "capabilities": []}}, "eol": "CRLF"},
    {"kind": "send", "conn": "A", "msg": {"execute": "blockdev-add", "id": 1, "arguments": {"filename": "/a/b"}}},
    {"kind": "reply", "conn": "A", "msg": {"return": {}, "id": 1}},
    {
        "kind": "send",
        "conn": "A",
        "msg": {
            "execute": "blockdev-backup",
            "id": 2,
            "arguments": {"job-id": "b", "device": "src", "target": "dst", "sync": "full", "speed": 7},
        },
    },
    {
        "kind": "event",
        "conn": "A",
        "msg": {"timestamp": STAMP, "event": "JOB_STATUS_CHANGE", "data": {"id": "b", "status": "created"}},
    },
    {"kind": "reply", "conn": "A", "msg": {"return": {}, "id": 2}},
    {
        "kind": "event",
        "conn": "A",
        "msg": {
            "timestamp": STAMP,
            "event": "BLOCK_JOB_COMPLETED",
            "data": {"device": "b", "type": "backup", "len": 1, "offset": 1, "speed": 7, "error": "no /a/b/file"},
        },
    },
    {"kind": "send", "conn": "A", "msg": {"execute": "query-version", "id": 3}},
    {"kind": "reply", "conn": "A", "msg": {"return": VERSION, "id": 3}},
    {"kind": "raw-send", "conn": "A", "bytes": "{'id': \u00ff" + "x" * 9000 + "}"},
    {"kind": "exit", "rc": 0, "output": "terminated by /usr/bin/python"},
]


def condensed(tmp_path: Path) -> str:
    recorded = tmp_path / "x.jsonl"
    recorded.write_text("".join(json.dumps({"seq": n, "t": 0.5, **each}) + "\n" for n, each in enumerate(RAW)))
    (tmp_path / "traces").mkdir()
    condense.main([str(recorded), str(tmp_path / "traces")])
    return (tmp_path / "traces" / "x.jsonl").read_text()


def test_devices_times_versions_paths_and_sizes_go(tmp_path: Path) -> None:
    text = condensed(tmp_path)
    assert len(text) < 3500
    for gone in ("blockdev-add", "timestamp", "7.2", "/a/", "/usr/", '"seq"', "len", "sync"):
        assert gone not in text


def test_what_is_left_tells_the_same(tmp_path: Path) -> None:
    condensed(tmp_path)
    stories = []
    for path in (tmp_path / "x.jsonl", tmp_path / "traces" / "x.jsonl"):
        (case,) = cases(read(path))
        recording = Recording(case)
        (job,) = recording.jobs
        stories.append([each.event for each in job.story()])
        assert job.arguments["speed"] == 7
        assert [type(step).__name__ for step in Script(recording).steps][-4:] == ["Send", "Reply", "Send", "Exit"]
    assert stories[0][0] == stories[1][0] == Event("created")
    assert stories[1][1] == Event("BLOCK_JOB_COMPLETED", "no DIR/file")
    assert recording.exchanges[-1].row.raw.startswith(b"{'id': \xffxx")


def test_a_job_without_an_id_is_called_as_its_device(tmp_path: Path) -> None:
    message = {"execute": "block-stream", "arguments": {"device": "top", "base-node": "base"}}
    (record,) = condense.condense([{"kind": "send", "conn": "A", "msg": message}])
    assert record["msg"]["arguments"] == {"device": "top"}


def test_actions_of_a_transaction_keep_their_jobs() -> None:
    action = {"type": "blockdev-backup", "data": {"job-id": "b", "target": "dst", "auto-dismiss": False}}
    message = {"execute": "transaction", "arguments": {"actions": [action], "properties": {}}}
    (record,) = condense.condense([{"kind": "send", "conn": "A", "msg": message}])
    kept = {"type": "blockdev-backup", "data": {"job-id": "b", "auto-dismiss": False}}
    assert record["msg"]["arguments"] == {"actions": [kept], "properties": {}}


def test_a_summary_becomes_a_table_with_a_line_for_each_cell() -> None:
    summary = {"running": {"job-pause": {"reply": "ok", "events": [["x", "y", "j"]]}, "job-cancel": {"reply": "ok"}}}
    text = condense.table(summary)
    assert json.loads(text) == summary
    assert len(text.splitlines()) == 6
