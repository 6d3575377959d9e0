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
    shell.daemon.answers["CancelJob"] = lambda job_id, kill, soft: [job_id != 6, f"answer {job_id}"]
    shell.daemon.jobs({"id": 6, "members": None})
    result = shell("cancel", "5-7")
    assert result == (1, "", "job 5: answer 5\njqueue: job 6: answer 6\njob 7: answer 7\n")
    assert shell("cancel", "5,7").status == 0


def test_cancel_in_json_is_one_list(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = lambda job_id, kill, soft: GONE if job_id == 8 else [True, "canceling"]
    shell.daemon.jobs()
    result = shell("cancel", "7", "8", "--json", "--kill")
    assert result.status == 1
    assert json.loads(result.out) == [
        {"id": 7, "ok": True, "message": "canceling"},
        {"id": 8, "ok": False, "message": "there is no job 8"},
    ]
    assert calls(shell, "CancelJob") == [(7, True, False), (8, True, False)]


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
    assert calls(shell, "CancelJob") == [(1, False, False), (2, False, False)]


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
        (
            ["speed", "10MB", "3"],
            "'10MB' is no speed; write bytes a second, as in 65536, 512K, 10M or 1.5G (powers of 1024), or unlimited",
        ),
        (["speed", "10M"], "which jobs? give ids, --status or --filter; `jqueue speed --help` shows how"),
        (["complete"], "which jobs? give ids, --status or --filter; `jqueue complete --help` shows how"),
        (["finalize", "x"], "'x' is not a job id; write ids and ranges like 3,5-9 12"),
        (
            ["cancel", "--kill", "--soft", "3"],
            "argument --soft: not allowed with argument --kill; `jqueue cancel --help` shows how it is used",
        ),
        (["drain", "off", "why"], "drain off takes no reason, but got 'why'"),
    ],
)
def test_a_bad_choice_changes_nothing(shell: Shell, words: list[str], message: str) -> None:
    assert shell(*words) == (2, "", f"jqueue: {message}\n")
    assert shell.daemon.calls == []


def test_retry_gives_the_new_ids(shell: Shell) -> None:
    shell.daemon.answers["RetryJob"] = lambda job_id, everything: GONE if job_id == 8 else job_id + 100
    shell.daemon.jobs({"id": 7, "members": None}, {"id": 8, "members": None})
    result = shell("retry", "7", "8", "--all")
    assert result == (1, "107\n", "job 7 goes again as job 107\njqueue: job 8: there is no job 8\n")
    assert json.loads(shell("retry", "7", "--json").out) == [{"id": 7, "new": 107, "error": None}]
    assert calls(shell, "RetryJob") == [(7, True), (8, True), (7, False)]


def test_a_group_is_retried_once_however_many_of_its_members_are_named(shell: Shell) -> None:
    shell.daemon.answers["RetryJob"] = lambda job_id, everything: job_id + 100
    shell.daemon.jobs(*({"id": job_id, "members": [5, 7]} for job_id in (5, 6, 7)), {"id": 9, "members": None})
    assert shell("retry", "7,5", "9").out == "107\n105\n109\n"
    assert calls(shell, "RetryJob") == [(7, False), (9, False)]


@pytest.mark.parametrize(("word", "number"), [("low", 10), ("normal", 0), ("high", -10), ("-20", -20), ("19", 19)])
def test_priority_takes_names_and_numbers(shell: Shell, word: str, number: int) -> None:
    shell.daemon.answers["ChangeJobPriority"] = [True, "changed"]
    assert shell("priority", word, "17") == (0, "", "job 17: changed\n")
    assert calls(shell, "ChangeJobPriority") == [(17, number)]


@pytest.mark.parametrize(
    ("verb", "method"),
    [("pause", "PauseJob"), ("resume", "ResumeJob"), ("complete", "CompleteJob"), ("finalize", "FinalizeJob")],
)
def test_each_answer_to_a_verb_is_told(shell: Shell, verb: str, method: str) -> None:
    shell.daemon.answers[method] = lambda job_id: [job_id != 6, f"answer {job_id}"]
    shell.daemon.jobs({"id": 6, "members": None})
    assert shell(verb, "5,6") == (1, "", "job 5: answer 5\njqueue: job 6: answer 6\n")
    assert calls(shell, method) == [(5,), (6,)]
    assert json.loads(shell(verb, "--json", "5").out) == [{"id": 5, "ok": True, "message": "answer 5"}]


@pytest.mark.parametrize(("rate", "speed"), [("10M", 10 * 2**20), ("0", 0), ("unlimited", 0), ("65536", 65536)])
def test_speed_takes_bytes_a_second_with_units(shell: Shell, rate: str, speed: int) -> None:
    shell.daemon.answers["SetJobSpeed"] = lambda job_id, speed: [True, "noted"]
    assert shell("speed", rate, "5,6") == (0, "", "job 5: noted\njob 6: noted\n")
    assert calls(shell, "SetJobSpeed") == [(5, speed), (6, speed)]


def test_a_soft_cancel_is_asked_for(shell: Shell) -> None:
    shell.daemon.answers["CancelJob"] = [True, "Job 7 will end"]
    assert shell("cancel", "--soft", "7") == (0, "", "job 7: Job 7 will end\n")
    assert calls(shell, "CancelJob") == [(7, False, True)]


@pytest.mark.parametrize(
    ("verb", "states"), [("complete", ["ready", "standby"]), ("finalize", ["pending"])], ids=["complete", "finalize"]
)
def test_a_filter_finds_only_jobs_whose_lifecycle_admits_the_verb(shell: Shell, verb: str, states: list[str]) -> None:
    shell.daemon.answers["QueryJobs"] = []
    assert shell(verb, "--filter", "id > 3") == (0, "", "no job matches\n")
    shell(verb, "--status", "running")
    wanted = ["|", *(["==", "lifecycle", state] for state in states)]
    assert [call[2] for call in calls(shell, "QueryJobs")] == [
        ["&", wanted, [">", "id", 3]],
        ["&", ["|", ["==", "status", "running"]], wanted],
    ]


@pytest.mark.parametrize(("verb", "method"), [("complete", "CompleteJob"), ("finalize", "FinalizeJob")])
def test_what_cannot_be_undone_needs_yes_if_a_filter_finds_several(shell: Shell, verb: str, method: str) -> None:
    shell.daemon.answers["QueryJobs"] = [[1, "running"], [2, "running"]]
    shell.daemon.answers[method] = [True, "noted"]
    result = shell(verb, "--filter", "name == 'x'")
    assert result == (2, "", f"jqueue: {verb} would act on 2 jobs (1, 2); add --yes if that is meant\n")
    assert calls(shell, method) == []
    assert shell(verb, "--filter", "name == 'x'", "-y").status == 0
    assert calls(shell, method) == [(1,), (2,)]


@pytest.mark.parametrize(("verb", "method"), [("finalize", "FinalizeJob"), ("cancel", "CancelJob")])
def test_what_was_done_to_a_whole_group_is_not_refused_for_its_other_members(
    shell: Shell, verb: str, method: str
) -> None:
    shell.daemon.jobs(*({"id": job_id, "members": members} for job_id, members in ((42, [41, 42]), (50, [50, 51]))))
    shell.daemon.answers[method] = lambda job_id, *how: [job_id == 41, f"answer {job_id}"]
    result = shell(verb, "41,42,50")
    assert result == (
        1,
        "",
        "job 41: answer 41\njob 42: done with job 41, which is in its group\njqueue: job 50: answer 50\n",
    )
    assert shell(verb, "41,42").status == 0


def test_a_soft_cancel_is_done_to_each_member_of_a_group(shell: Shell) -> None:
    shell.daemon.jobs({"id": 42, "members": [41, 42]})
    shell.daemon.answers["CancelJob"] = lambda job_id, kill, soft: [job_id == 41, f"answer {job_id}"]
    assert shell("cancel", "--soft", "41,42") == (1, "", "job 41: answer 41\njqueue: job 42: answer 42\n")


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
