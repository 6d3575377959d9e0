"""Tests of `jqueue.rpc.query`."""

from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import OpPrereqError
from jqueue.jobs.fields import FIELDS
from jqueue.jobs.rows import RowStream
from jqueue.rpc.query import query, query_fields


def ask(queue: Any, what: str, fields: list[str], qfilter: object = None) -> Any:
    answers: list[Any] = []
    query(queue, what, fields, qfilter).addCallback(answers.append)
    return answers[0]


def test_all_fields_are_described_in_natural_order() -> None:
    names = [field["name"] for field in query_fields("job", None)["fields"]]
    assert names == sorted(FIELDS)
    assert all(set(field) == {"name", "title", "kind", "doc"} for field in query_fields("lock", None)["fields"])


def test_fields_are_described_in_the_order_asked_and_an_unknown_one_as_such() -> None:
    fields = query_fields("job", ["status", "colour"])["fields"]
    assert [(field["name"], field["kind"]) for field in fields] == [("status", "text"), ("colour", "unknown")]


def test_there_is_no_other_table(queue: Any) -> None:
    with pytest.raises(OpPrereqError, match="'job' or 'lock'"):
        query_fields("node", None)
    with pytest.raises(OpPrereqError, match="'job' or 'lock'"):
        query(queue, "node", [], None)


def test_cells_say_what_they_are(queue: Any) -> None:
    queue.answers["query_jobs"] = [[7, "queued", None]]
    answer = ask(queue, "job", ["id", "colour", "status", "end_ts", "id"])
    assert answer["data"] == [[[0, 7], [1, None], [0, "queued"], [3, None], [0, 7]]]
    assert [field["name"] for field in answer["fields"]] == ["id", "colour", "status", "end_ts", "id"]
    assert queue.calls == [("query_jobs", None, ["id", "status", "end_ts", "id"], None)]


def test_a_stream_of_rows_stays_a_stream(queue: Any) -> None:
    queue.answers["query_jobs"] = RowStream(2, iter([[1], [2]]))
    data = ask(queue, "job", ["id"])["data"]
    assert isinstance(data, RowStream)
    assert list(data) == [[[0, 1]], [[0, 2]]]


@pytest.mark.parametrize(
    ("qfilter", "ids"),
    [
        (["==", "id", 7], [7]),
        (["=", "id", "7"], [7]),
        (["|", ["==", "id", 7], ["==", "id", 99]], [7, 99]),
        (["|", ["|", ["==", "id", 7]], ["==", "id", 99]], [7, 99]),
    ],
)
def test_a_filter_that_only_names_jobs_asks_for_them(queue: Any, qfilter: object, ids: list[int]) -> None:
    queue.answers["query_jobs"] = []
    ask(queue, "job", ["id"], qfilter)
    assert queue.calls == [("query_jobs", ids, ["id"], None)]


@pytest.mark.parametrize(
    "qfilter",
    [
        None,
        ["|"],
        ["==", "status", "queued"],
        ["|", ["==", "id", 7], ["==", "status", "queued"]],
        ["&", ["==", "id", 7], ["==", "status", "queued"]],
    ],
)
def test_any_other_filter_is_left_to_the_queue(queue: Any, qfilter: object) -> None:
    queue.answers["query_jobs"] = []
    ask(queue, "job", ["id"], qfilter)
    assert queue.calls == [("query_jobs", None, ["id"], qfilter)]


LOCKS = [
    {"name": "instance/web1", "mode": "exclusive", "owners": ["job 1"], "pending": [["shared", ["job 2"]]]},
    {"name": "node/n1", "mode": None, "owners": [], "pending": []},
]


def test_locks_are_a_table_too(queue: Any) -> None:
    queue.answers["query_locks"] = LOCKS
    answer = ask(queue, "lock", ["name", "mode", "owner", "pending"])
    assert answer["data"] == [
        [[0, "instance/web1"], [0, "exclusive"], [0, ["job 1"]], [0, [["shared", ["job 2"]]]]],
        [[0, "node/n1"], [3, None], [3, None], [0, []]],
    ]


def test_locks_can_be_filtered(queue: Any) -> None:
    queue.answers["query_locks"] = LOCKS
    assert ask(queue, "lock", ["name"], ["==", "mode", "exclusive"])["data"] == [[[0, "instance/web1"]]]
