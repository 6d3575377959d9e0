"""Job descriptions: every accepted shape, every refusal with its place, and no way to make them expensive."""

from __future__ import annotations

import json

import pytest

from jqueue.errors import OpPrereqError
from jqueue.jobs.description import check, check_name, load

OP = {"OP_ID": "OP_TEST_DELAY", "duration": 0.5}


def refused(text: str | bytes, source: str = "f") -> str:
    with pytest.raises(OpPrereqError) as caught:
        load(text.encode() if isinstance(text, str) else text, source)
    assert "\n" not in caught.value.text
    return caught.value.text


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("ops: [{OP_ID: OP_TEST_DELAY, duration: 0.5}]", [{"ops": [OP]}]),
        ("name: a\nops:\n- OP_ID: OP_TEST_DELAY\n  duration: 0.5\n", [{"name": "a", "ops": [OP]}]),
        ("- {OP_ID: OP_TEST_DELAY, duration: 0.5}\n- {OP_ID: OP_TEST_DELAY, duration: 0.5}", [{"ops": [OP, OP]}]),
        (json.dumps([OP]), [{"ops": [OP]}]),
        (json.dumps({"ops": [OP], "auto_finalize": False}), [{"ops": [OP], "auto_finalize": False}]),
        (json.dumps([{"ops": [OP]}, {"ops": [OP, OP]}]), [{"ops": [OP]}, {"ops": [OP, OP]}]),
        ('{"ops": [{"OP_ID": "OP_TEST_DELAY", "duration": 0.5},]}', [{"ops": [OP]}]),
        (f"---\nops: [{json.dumps(OP)}]\n---\n- {json.dumps(OP)}\n---\n", [{"ops": [OP]}, {"ops": [OP]}]),
        ("\ufeff" + json.dumps([OP]), [{"ops": [OP]}]),
    ],
)
def test_every_shape_becomes_a_list_of_descriptions(text: str, jobs: list[object]) -> None:
    assert load(text.encode(), "f") == jobs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f: there is no job in it"),
        ("[]", "f: there is no job in it"),
        ("---\n---\n", "f: there is no job in it"),
        ("7", "f: a job expected, a map with `ops` or a list of opcodes, got 7"),
        ("just words", "got 'just words'"),
        ("name: a", "f: ops: a list of at least one opcode expected"),
        ("ops: []", "f: ops: a list of at least one opcode expected"),
        ("ops: {OP_ID: X}", "f: ops: a list of at least one opcode expected, got {'OP_ID': 'X'}"),
        ("ops: [x]", "f: ops[0]: an opcode expected, a map with OP_ID, got 'x'"),
        ("ops: [{OP_ID: X}, {duration: 1}]", "f: ops[1]: OP_ID is missing"),
        ("OP_ID: X\nduration: 1", "f: this is an opcode; a job is a map with `ops`"),
        ("[{OP_ID: X}, {ops: [{OP_ID: X}]}]", "f: ops[1]: OP_ID is missing; this is a job"),
        ("opps: []", "f: opps: there is no such key; did you mean `ops`?"),
        ("[{ops: [{OP_ID: X}]}, {ops: [{OP_ID: X}], opts: 1}]", "f: jobs[1].opts: there is no such key"),
        ("[{ops: [{OP_ID: X}]}, {ops: 3}]", "f: jobs[1].ops: a list of at least one opcode expected, got 3"),
        ("[{ops: [{OP_ID: X}]}, 3]", "f: jobs[1]: a job expected"),
        ("ops: [{OP_ID: X}]\n---\nops: [{}]", "f: jobs[1].ops[0]: OP_ID is missing"),
        ("zzz: 1", "a job has name, ops, auto_finalize, auto_dismiss"),
        ("name: 7\nops: [{OP_ID: X}]", "f: name: text expected, got 7; quote it"),
        ("name: ../x\nops: [{OP_ID: X}]", "f: name: '../x': a name without `/`"),
        ("auto_finalize: 1\nops: [{OP_ID: X}]", "f: auto_finalize: true or false expected, got 1"),
        ("auto_dismiss: null\nops: [{OP_ID: X}]", "f: auto_dismiss: true or false expected, got None"),
        ("ops: [{OP_ID: X, at: 2024-01-01}]", "f:1: '2024-01-01': YAML reads this as a date; quote it"),
        ("ops: [\n{OP_ID: X\n", "this is not YAML"),
        (b"ops: \xff", "f: byte 5 is not UTF-8"),
        ('{"ops": [], "ops": []}', "f: the key 'ops' is there twice in one map"),
        ('{"ops": [{"OP_ID": "X", "n": NaN}]}', "f: NaN is not a finite number"),
        ('{"ops": [{"OP_ID": "X", "n": 1e999}]}', "f: inf is not a finite number"),
        ('{"ops": [{"OP_ID": "X", "n": 18446744073709551616}]}', "f: 18446744073709551616 does not fit into 64 bits"),
        ('{"ops": [{"OP_ID": "X", "n": ' + "9" * 5000 + "}]}", "quote it to keep it as text"),
        ('["\\ud800"]', "half of a surrogate pair"),
        ("[" * 40 + "]" * 40, "f: nested deeper than 32 levels"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 32 levels"),
        ('{"a":' * 100_000, "nested deeper than 32 levels"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(text: str | bytes, words: str) -> None:
    assert words in refused(text)


def test_a_broken_json_file_is_told_as_json() -> None:
    assert "f.json: this is not JSON: Expecting" in refused('{"ops": [,]}', "f.json")


def test_a_valid_surrogate_pair_is_text() -> None:
    [job] = load(rb'[{"OP_ID": "X", "text": "\ud83d\ude00"}]', "f")
    assert job == {"ops": [{"OP_ID": "X", "text": "\U0001f600"}]}


def test_a_large_text_is_refused_before_it_is_parsed() -> None:
    assert "f: 10485760 bytes, at most 4194304 are taken" in refused(b"[" * (10 * 2**20))
    with pytest.raises(OpPrereqError, match="9 bytes, at most 8 are taken"):
        load(b"[" * 9, "f", max_size=8)


def test_aliases_share_steps_between_jobs() -> None:
    text = "- name: a\n  ops: &steps [{OP_ID: X}]\n- name: b\n  ops: *steps\n"
    assert [job["ops"] for job in load(text.encode(), "f")] == [[{"OP_ID": "X"}], [{"OP_ID": "X"}]]


def test_a_job_of_the_wire_is_checked_alike() -> None:
    assert check([{"OP_ID": "X"}], "jobs[3]") == {"ops": [{"OP_ID": "X"}]}
    assert check({"ops": [{"OP_ID": "X"}], "name": None}, "") == {"ops": [{"OP_ID": "X"}], "name": None}
    with pytest.raises(OpPrereqError, match=r"^jobs\[3\]\.ops: "):
        check({"ops": 1}, "jobs[3]")


@pytest.mark.parametrize("name", ["a", "back up", "Sicherung für web1", "x" * 256, "a..b", "#1"])
def test_names_are_text_for_people(name: str) -> None:
    assert check_name(name, "name") == name


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "a\nb", "a\x1b[31m", "a\x00", "x" * 257, 7, None, True, "\u202e"]
)
def test_names_that_harm_a_terminal_or_a_path_are_refused(name: str | int | None) -> None:
    with pytest.raises(OpPrereqError, match="^name: "):
        check_name(name, "name")
