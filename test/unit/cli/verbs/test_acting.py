"""The verbs that act on jobs: cancel, retry, priority, archive, and which jobs they choose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from jqueue import errors

if TYPE_CHECKING:
    from test.unit.cli.conftest import Shell

UNFINISHED = ["|", *(["==", "status", name] for name in ("queued", "waiting", "canceling", "running"))]
GONE = errors.JobLost("there is no job 8")


def calls(shell: Shell, method: str) -> list[tuple[object, ...]]:
    return [call[1:] for call in shell.daemon.calls if call[0] == method]


def test_cancel_tells_each_answer_and_fails_if_one_was_refused(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = lambda job_id, kill: [job_id != 6, f"answer {job_id}"]
    result = shell("cancel", "5-7")
    assert result == (1, "", "job 5: answer 5\njqueue: job 6: answer 6\njob 7: answer 7\n")
    assert shell("cancel", "5,7").status == 0


def test_cancel_in_json_is_one_list(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = lambda job_id, kill: GONE if job_id == 8 else [True, "canceling"]
    result = shell("cancel", "7", "8", "--json", "--kill")
    assert result.status == 1
    assert json.loads(result.out) == [
        {"id": 7, "ok": True, "message": "canceling"},
        {"id": 8, "ok": False, "message": "there is no job 8"},
    ]
    assert calls(shell, "CancelJob") == [(7, True), (8, True)]


def test_an_error_of_the_whole_queue_ends_the_verb(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = errors.PermissionDenied("operators only")
    assert shell("cancel", "7", "8") == (77, "", "jqueue: operators only\n")
    assert len(shell.daemon.calls) == 1


def test_several_found_by_a_filter_need_yes(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = [True, "canceled"]
    shell.daemon.answers["QueryJobs"] = [[1, "queued"], [2, "queued"]]
    result = shell("cancel", "--filter", "name == 'x'")
    assert result == (2, "", "jqueue: cancel would act on 2 jobs (1, 2); add --yes if that is meant\n")
    assert calls(shell, "CancelJob") == []
    assert shell("cancel", "--filter", "name == 'x'", "--yes").status == 0
    assert calls(shell, "CancelJob") == [(1, False), (2, False)]


def test_one_found_by_a_filter_needs_no_yes_and_none_is_said(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = [True, "canceled"]
    shell.daemon.answers["QueryJobs"] = [[1, "queued"]]
    assert shell("cancel", "--status", "queued").status == 0
    shell.daemon.answers["QueryJobs"] = []
    assert shell("cancel", "--status", "queued") == (0, "", "no job matches\n")


def test_a_filter_finds_only_jobs_that_the_verb_can_act_on(shell: Shell) -> None:
    shell.daemon.answers["QueryJobs"] = []
    shell("cancel", "--filter", "id > 3")
    shell("retry", "--filter", "id > 3")
    filters = [call[2] for call in calls(shell, "QueryJobs")]
    assert filters[0] == ["&", UNFINISHED, [">", "id", 3]]
    assert filters[1] == ["&", ["|", ["==", "status", "canceled"], ["==", "status", "error"]], [">", "id", 3]]


def test_ids_and_a_condition_together_mean_both(shell: Shell) -> None:
    shell.daemon.answers["QueryJobs"] = []
    shell("cancel", "3-5", "--status", "running")
    assert calls(shell, "QueryJobs") == [([3, 4, 5], ["id", "status"], ["|", ["==", "status", "running"]])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cancel"], "which jobs? give ids, --status or --filter; `jqueue cancel --help` shows how"),
        (["cancel", "x"], "'x' is not a job id; write ids and ranges like 3,5-9 12"),
        (["cancel", "9-5"], "'9-5' is not a range of at most 1000000 ids, from the lower to the higher"),
        (
            ["cancel", "1-99999999999"],
            "'1-99999999999' is not a range of at most 1000000 ids, from the lower to the higher",
        ),
        (["cancel", "--status", "runing"], "--status: there is no status 'runing'; did you mean 'running'?"),
        (["info", "3-4"], "'3-4' names 2 jobs, but this verb takes one"),
        (["priority", "urgent", "3"], "'urgent' is no priority; write low, normal, high, or a number from -20 to 19"),
        (["priority", "20", "3"], "'20' is no priority; write low, normal, high, or a number from -20 to 19"),
        (["autoarchive", "1y"], "'1y' is not a duration; write seconds, or numbers with s, m, h, d or w: 90, 1d12h"),
        (["drain", "off", "why"], "drain off takes no reason, but got 'why'"),
    ],
)
def test_a_bad_choice_changes_nothing(shell: Shell, words: list[str], message: str) -> None:
    assert shell(*words) == (2, "", f"jqueue: {message}\n")
    assert shell.daemon.calls == []


def test_retry_gives_the_new_ids(shell: Shell) -> None:
    shell.daemon.answers["RetryJob"] = lambda job_id, everything: GONE if job_id == 8 else job_id + 100
    result = shell("retry", "7", "8", "--all")
    assert result == (1, "107\n", "job 7 goes again as job 107\njqueue: job 8: there is no job 8\n")
    assert json.loads(shell("retry", "7", "--json").out) == [{"id": 7, "new": 107, "error": None}]
    assert calls(shell, "RetryJob") == [(7, True), (8, True), (7, False)]


@pytest.mark.parametrize(("word", "number"), [("low", 10), ("normal", 0), ("high", -10), ("-20", -20), ("19", 19)])
def test_priority_takes_names_and_numbers(shell: Shell, word: str, number: int) -> None:
    shell.daemon.answers["ChangeJobPriority"] = [True, "changed"]
    assert shell("priority", word, "17") == (0, "", "job 17: changed\n")
    assert calls(shell, "ChangeJobPriority") == [(17, number)]


@pytest.mark.parametrize(("verb", "method"), [("pause", "PauseJob"), ("resume", "ResumeJob")])
def test_pause_and_resume_tell_each_answer(shell: Shell, verb: str, method: str) -> None:
    shell.daemon.answers[method] = lambda job_id: [job_id != 6, f"answer {job_id}"]
    assert shell(verb, "5,6") == (1, "", "job 5: answer 5\njqueue: job 6: answer 6\n")
    assert calls(shell, method) == [(5,), (6,)]


def test_archive_says_what_it_could_not(shell: Shell) -> None:
    shell.daemon.answers["ArchiveJob"] = lambda job_id: job_id == 1
    result = shell("archive", "1,2")
    assert result.status == 1
    assert result.err == (
        "job 1: archived\n"
        "jqueue: job 2: not archived: it has not ended, or is not in the queue; `jqueue list 2` shows it\n"
    )


def test_autoarchive_goes_on_until_every_job_was_looked_at(shell: Shell) -> None:
    answers = [[10, 5], [5, 0]]
    shell.daemon.answers["AutoArchiveJobs"] = lambda age, timeout: answers.pop(0)
    assert shell("autoarchive", "1d") == (0, "", "15 jobs archived\n")
    assert [call[0] for call in calls(shell, "AutoArchiveJobs")] == [86400, 86400]
    answers = [[0, 3]]
    assert json.loads(shell("autoarchive", "all", "--json").out) == {"archived": 0, "unchecked": 3}
    assert calls(shell, "AutoArchiveJobs")[-1][0] == -1
