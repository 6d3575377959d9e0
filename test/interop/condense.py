#!/usr/bin/env python3
"""Makes recorded sessions of QEMU's monitor small enough to keep: `condense.py RECORDED... traces/`.

What is left is what the replay looks at: who sent what in which order, the answers, and the events of jobs. Times,
versions, paths, sizes, and what only sets up devices go. A `.summary.json`, of answers by state and command, becomes a
table with a line for each.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_SET_UP = ("blockdev-add", "blockdev-del")
_MAKES_JOBS = re.compile("(x-)?(blockdev|drive)-(mirror|backup|create|amend)|block-(commit|stream)")
_OF_JOB = ("job-id", "speed", "auto-finalize", "auto-dismiss")
_OF_EVENT = ("id", "device", "status", "error", "reason", "action")
_COMMANDS = re.compile("(block-)?job-.*|query-(block-)?jobs")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.-]+/)+")
_LONG_WORD = re.compile(r"([a-z])\1{1999,}")


def condense(records: Iterable[Record]) -> Iterator[Record]:
    """Leaves out of a session what the replay does not look at."""
    asked: dict[str, str] = {}
    for record in records:
        message = record.get("msg")
        command = message.get("execute") if isinstance(message, dict) else None
        key = f"{record.get('conn')} {json.dumps(message.get('id'))}" if isinstance(message, dict) else ""
        if record["kind"] == "send" and isinstance(command, str):
            asked[key] = command
        elif record["kind"] == "reply":
            command = asked.get(key)
        if command not in _SET_UP:
            yield _record(record, command)


def _record(record: Record, command: str | None) -> Record:
    kind = record["kind"]
    kept: Record = {name: record[name] for name in ("kind", "conn") if name in record}
    if kind == "note":
        kept["text"] = record["text"]
    elif kind == "exit":
        kept["rc"] = record["rc"]
    elif kind == "raw-send":
        kept["bytes"] = record["bytes"]
    elif kind == "event":
        message = record["msg"]
        data = {name: value for name, value in message.get("data", {}).items() if name in _OF_EVENT}
        kept["msg"] = {"event": message["event"], "data": data}
    elif kind in ("send", "reply"):
        kept["msg"] = _sent(record["msg"]) if kind == "send" else _replied(record["msg"], command)
    return kept


def _sent(message: Any) -> Any:
    arguments = message.get("arguments") if isinstance(message, dict) else None
    if not isinstance(arguments, dict):
        return message
    if _MAKES_JOBS.fullmatch(str(message.get("execute"))):
        arguments = _of_job(arguments)
    elif message.get("execute") == "transaction" and "actions" in arguments:
        actions = [{**each, "data": _of_job(each.get("data", {}))} for each in arguments["actions"]]
        arguments = {**arguments, "actions": actions}
    return {**message, "arguments": arguments}


def _of_job(arguments: Mapping[str, Any]) -> Record:
    """Keeps what tells how a job is made; one without an id of its own is called as its device."""
    kept = {name: value for name, value in arguments.items() if name in _OF_JOB}
    if "job-id" not in arguments and "device" in arguments:
        kept["device"] = arguments["device"]
    return kept


def _replied(message: Record, command: str | None) -> Record:
    if command == "query-version" and "return" in message:
        return {**message, "return": {}}
    if command == "query-commands" and "return" in message:
        return {**message, "return": [each for each in message["return"] if _COMMANDS.fullmatch(each["name"])]}
    return message


def line(record: Record) -> str:
    """Writes one line, without the paths of the machine that recorded it, and with no endless words."""
    text = json.dumps(record, separators=(",", ":"))
    return _PATH.sub("DIR/", _LONG_WORD.sub(lambda match: match[1] * 2000, text))


def table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes a summary with a line for each state and command."""
    states = []
    for state, commands in summary.items():
        cells = ",\n".join(f"  {json.dumps(command)}: {json.dumps(cell)}" for command, cell in commands.items())
        states.append(f" {json.dumps(state)}: {{\n{cells}\n }}")
    return "{\n" + ",\n".join(states) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Condenses files into a directory."""
    *sources, target = map(Path, arguments)
    for source in sources:
        text = source.read_text(encoding="utf-8")
        if source.name.endswith(".summary.json"):
            condensed, name = table(json.loads(text)), "legality.json"
        else:
            records = (json.loads(each) for each in text.splitlines())
            condensed, name = "".join(f"{line(each)}\n" for each in condense(records)), source.name
        (target / name).write_text(condensed, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
