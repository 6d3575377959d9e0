"""Job descriptions: YAML or JSON text to the jobs that it asks for.

A description is a map `{name, ops, auto_finalize, auto_dismiss}`; a text holds one, a list of them, or a bare list of
opcodes, which is one job; each YAML document adds its own. Or it holds one map `{group, jobs}` and nothing else: jobs
that succeed or fail together.
What the opcodes and their parameters mean does not live here, see `jqueue.opcodes`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from jqueue import yamltext
from jqueue.errors import OpPrereqError
from jqueue.yamltext import MAX_DEPTH, Value

MAX_SIZE = 4 * 2**20
MAX_NAME = 256
KEYS = ("name", "ops", "auto_finalize", "auto_dismiss")
GROUP_KEYS = ("group", "jobs")

_OPCODE = "OP_ID"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass
class Submission:
    """What a text asks for in one call."""

    jobs: list[dict[str, Value]]
    """Descriptions, each a map with `ops`; at least one."""
    group: bool | str = False
    """Whether they succeed or fail together; the group's name if it has one."""

    @property
    def options(self) -> dict[str, object]:
        """What is to be said of all of them, see `SubmitManyJobs`."""
        return {"group": self.group} if self.group else {}


def load(data: bytes, source: str, max_size: int = MAX_SIZE) -> Submission:
    """Reads job descriptions; a text of megabytes takes a second, so not on the reactor's thread.

    @param data: YAML or JSON, in UTF-8
    @param source: what to call it in errors, a file name for example
    @param max_size: bytes above which nothing is even parsed
    @raise OpPrereqError: the text cannot be read, or is no description; says where and what to do
    """
    if len(data) > max_size:
        raise OpPrereqError(
            f"{source}: {len(data)} bytes, at most {max_size} are taken; split it into several submissions"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise OpPrereqError(f"{source}: byte {exc.start} is not UTF-8; save the file as UTF-8") from None
    documents = [document for document in _parse(text, source) if document is not None]
    try:
        if any(map(_is_group, documents)):
            return _group(documents)
        jobs = [job for document in documents for job in _jobs(document)]
        if not jobs:
            raise OpPrereqError("there is no job in it; write `ops:` with a list of opcodes")
        return Submission([check(job, f"jobs[{number}]" if len(jobs) > 1 else "") for number, job in enumerate(jobs)])
    except OpPrereqError as exc:
        raise OpPrereqError(f"{source}: {exc.text}") from None


def check(job: Value, path: str) -> dict[str, Value]:
    """Checks the shape of one job as it was read or came over the wire.

    @param job: a description, or a bare list of opcodes
    @param path: where it stands, `jobs[1]` for example; empty for a lone one
    @return: the description, always a map with `ops`
    @raise OpPrereqError: with the path of what is wrong
    """
    if isinstance(job, list):
        job = {"ops": job}
    if not isinstance(job, dict):
        _refuse(path, f"a job expected, a map with `ops` or a list of opcodes, got {job!r:.60}")
    for key in job:
        if key not in KEYS:
            _refuse_key(path, key, _OPCODE in job)
    if "name" in job and job["name"] is not None:
        check_name(job["name"], _join(path, "name"))
    for flag in ("auto_finalize", "auto_dismiss"):
        if not isinstance(job.get(flag, True), bool):
            _refuse(_join(path, flag), f"true or false expected, got {job[flag]!r:.60}")
    _check_ops(job.get("ops"), _join(path, "ops"))
    return job


def check_name(name: Value, path: str) -> str:
    """Checks the name of a job, which shows up in file names and on terminals.

    @return: the name
    @raise OpPrereqError: with the path and the reason
    """
    if not isinstance(name, str):
        _refuse(path, f"text expected, got {name!r:.60}; quote it")
    if not 0 < len(name) <= MAX_NAME:
        _refuse(path, f"1 to {MAX_NAME} characters expected, it has {len(name)}")
    if name in (".", "..") or "/" in name or not name.isprintable():
        _refuse(path, f"{name!r:.60}: a name without `/` and control characters expected, and not `.` or `..`")
    return name


def _parse(text: str, source: str) -> list[Value]:
    """Reads JSON where it is JSON, several times faster, and YAML otherwise; most of JSON is YAML too."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
            _check_values(value, 0)
            if _SURROGATE_ESCAPE.search(text):
                json.dumps(value, ensure_ascii=False).encode()
            return [value]
        except OpPrereqError as exc:
            raise OpPrereqError(f"{source}: {exc.text}") from None
        except UnicodeEncodeError:
            raise OpPrereqError(f"{source}: half of a surrogate pair (\\ud800 to \\udfff) is not text") from None
        except RecursionError:
            raise OpPrereqError(f"{source}: nested deeper than {MAX_DEPTH} levels") from None
        except ValueError as exc:
            if source.endswith(".json"):
                raise OpPrereqError(f"{source}: this is not JSON: {exc}") from None
    return yamltext.parse(text, source)


def _unique(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise OpPrereqError(f"the key {twice!r} is there twice in one map")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise OpPrereqError(f"{name} is not a finite number")


def _check_values(value: Value, depth: int) -> None:
    if isinstance(value, (list, dict)):
        if depth >= MAX_DEPTH:
            raise OpPrereqError(f"nested deeper than {MAX_DEPTH} levels")
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item, depth + 1)
    elif isinstance(value, (int, float)):
        reason = yamltext.check_number(value)
        if reason is not None:
            raise OpPrereqError(f"{str(value):.40} {reason}")


def _jobs(document: Value) -> list[Value]:
    """Tells a list of jobs from a list of opcodes: by what its members have."""
    if not isinstance(document, list):
        return [document]
    maps = [item for item in document if isinstance(item, dict)]
    if any("ops" in item for item in maps) and not any(_OPCODE in item for item in maps):
        return document
    return [document] if document else []


def _is_group(document: Value) -> bool:
    return isinstance(document, dict) and ("jobs" in document or ("group" in document and "ops" not in document))


def _group(documents: Sequence[Value]) -> Submission:
    (document, *others) = documents
    if others or not isinstance(document, dict):
        raise OpPrereqError("a group stands alone in its text; put the other jobs into its `jobs`, or another file")
    for key in document:
        if key not in GROUP_KEYS:
            hint = "it is said of each job: put it into those of `jobs`" if key in KEYS else None
            _refuse(key, f"there is no such key; {hint or _suggestion(key, GROUP_KEYS, 'a group')}")
    group, jobs = document.get("group", False), document.get("jobs")
    if isinstance(group, str):
        check_name(group, "group")
    elif not isinstance(group, bool):
        _refuse("group", f"true or a name expected, got {group!r:.60}")
    if not isinstance(jobs, list) or not jobs:
        _refuse("jobs", "a list of at least one job expected" + (f", got {jobs!r:.60}" if jobs else ""))
    return Submission([check(job, f"jobs[{number}]") for number, job in enumerate(jobs)], group)


def _check_ops(ops: Value, path: str) -> None:
    if not isinstance(ops, list) or not ops:
        _refuse(path, "a list of at least one opcode expected" + (f", got {ops!r:.60}" if ops else ""))
    for number, op in enumerate(ops):
        if not isinstance(op, dict):
            _refuse(f"{path}[{number}]", f"an opcode expected, a map with {_OPCODE}, got {op!r:.60}")
        if _OPCODE not in op:
            hint = "; this is a job, and stands in a list of opcodes" if "ops" in op else ""
            hint = "; this is a group, and stands alone in its text" if "jobs" in op else hint
            _refuse(f"{path}[{number}]", f"{_OPCODE} is missing{hint}")


def _refuse_key(path: str, key: str, is_opcode: bool) -> NoReturn:
    if is_opcode:
        _refuse(path, "this is an opcode; a job is a map with `ops`, a list of opcodes: put it there")
    if key in GROUP_KEYS:
        _refuse(_join(path, key), "a job has no such key; a group is a map of its own, `{group: true, jobs: [...]}`")
    _refuse(_join(path, key), f"there is no such key; {_suggestion(key, KEYS, 'a job')}")


def _suggestion(key: str, known: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"{what} has {', '.join(known)}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _refuse(path: str, reason: str) -> NoReturn:
    raise OpPrereqError(f"{path}: {reason}" if path else reason)
