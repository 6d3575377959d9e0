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
    submission = load(text.encode(), "f")
    assert submission.jobs == jobs
    assert submission.options == {}


@pytest.mark.parametrize(
    ("text", "options", "jobs"),
    [
        ("group: true\njobs:\n- [{OP_ID: X}]\n- ops: [{OP_ID: Y}]\n", {"group": True}, ["X", "Y"]),
        ("group: web\njobs:\n- name: a\n  ops: [{OP_ID: X}]\n", {"group": "web"}, ["X"]),
        ('{"group": "web", "jobs": [[{"OP_ID": "X"}], {"ops": [{"OP_ID": "Y"}]}]}', {"group": "web"}, ["X", "Y"]),
        ("---\n---\n{group: yes, jobs: [[{OP_ID: X}]]}\n---\n", {"group": True}, ["X"]),
        ("group: false\njobs: [[{OP_ID: X}], [{OP_ID: Y}]]", {}, ["X", "Y"]),
        ("jobs: [[{OP_ID: X}], [{OP_ID: Y}]]", {}, ["X", "Y"]),
    ],
)
def test_a_map_with_jobs_is_one_group_unless_it_says_otherwise(
    text: str, options: dict[str, object], jobs: list[str]
) -> None:
    submission = load(text.encode(), "f")
    assert submission.options == options
    assert [job["ops"] for job in submission.jobs] == [[{"OP_ID": op}] for op in jobs]


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
        ("group: 7\njobs: [[{OP_ID: X}]]", "f: group: true or a name expected, got 7"),
        ("group:\njobs: [[{OP_ID: X}]]", "f: group: true or a name expected, got None"),
        ("group: a/b\njobs: [[{OP_ID: X}]]", "f: group: 'a/b': a name without `/`"),
        ("group: ''\njobs: [[{OP_ID: X}]]", "f: group: 1 to 256 characters expected, it has 0"),
        ("group: true", "f: jobs: a list of at least one job expected"),
        ("jobs: []", "f: jobs: a list of at least one job expected"),
        ("{group: true, jobs: {ops: []}}", "f: jobs: a list of at least one job expected, got {'ops': []}"),
        ("{group: true, jobs: [7]}", "f: jobs[0]: a job expected"),
        ("{group: true, jobs: [{OP_ID: X}]}", "f: jobs[0]: this is an opcode"),
        ("{group: true, jobs: [[{OP_ID: X}], {ops: [{duration: 1}]}]}", "f: jobs[1].ops[0]: OP_ID is missing"),
        ("{group: true, jobs: [{ops: [{OP_ID: X}], name: 7}]}", "f: jobs[0].name: text expected, got 7"),
        ("{grup: true, jobs: []}", "f: grup: there is no such key; did you mean `group`?"),
        ("{group: true, jbos: []}", "f: jbos: there is no such key; did you mean `jobs`?"),
        ("{zzz: true, jobs: []}", "f: zzz: there is no such key; a group has group, jobs"),
        (
            "{jobs: [[{OP_ID: X}]], auto_finalize: false}",
            "f: auto_finalize: there is no such key; it is said of each job",
        ),
        ("{group: true, jobs: [[{OP_ID: X}]]}\n---\nops: [{OP_ID: X}]", "f: a group stands alone in its text"),
        ("ops: [{OP_ID: X}]\n---\n{group: true, jobs: [[{OP_ID: X}]]}", "f: a group stands alone in its text"),
        ("{jobs: [[{OP_ID: X}]]}\n---\n{jobs: [[{OP_ID: X}]]}", "f: a group stands alone in its text"),
        ("- {jobs: [[{OP_ID: X}]]}", "f: ops[0]: OP_ID is missing; this is a group, and stands alone"),
        (
            "{group: true, ops: [{OP_ID: X}]}",
            "f: group: a job has no such key; a group is a map of its own, `{group: true,",
        ),
        ("jobs: [{jobs: [[{OP_ID: X}]]}]", "f: jobs[0].jobs: a job has no such key; a group is a map of its own"),
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
    [job] = load(rb'[{"OP_ID": "X", "text": "\ud83d\ude00"}]', "f").jobs
    assert job == {"ops": [{"OP_ID": "X", "text": "\U0001f600"}]}


def test_a_large_text_is_refused_before_it_is_parsed() -> None:
    assert "f: 10485760 bytes, at most 4194304 are taken" in refused(b"[" * (10 * 2**20))
    with pytest.raises(OpPrereqError, match="9 bytes, at most 8 are taken"):
        load(b"[" * 9, "f", max_size=8)


def test_aliases_share_steps_between_jobs() -> None:
    text = "- name: a\n  ops: &steps [{OP_ID: X}]\n- name: b\n  ops: *steps\n"
    assert [job["ops"] for job in load(text.encode(), "f").jobs] == [[{"OP_ID": "X"}], [{"OP_ID": "X"}]]


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
