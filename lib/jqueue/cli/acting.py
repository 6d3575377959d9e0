"""What verbs that act on jobs one by one share: do it, say what came of it, exit accordingly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.results import query
from jqueue.cli.terminal import Terminal


def act(
    terminal: Terminal, ids: Sequence[int], action: Callable[[int], tuple[bool, str]], *, whole_group: bool = False
) -> int:
    """Acts on each job; one that refuses does not stop the others.

    @param action: does it, and gives whether it was done, and the words for it
    @param whole_group: whether it is done to the whole group of a job, so that the other members may refuse afterwards
    @return: good if it was done to all of them
    """
    results = []
    done_to: list[int] = []
    for job_id in ids:
        try:
            done, message = action(job_id)
        except (errors.JobLost, errors.OpPrereqError) as error:
            done, message = False, error.text
        if done:
            done_to.append(job_id)
        elif whole_group and (sibling := _sibling(terminal, job_id, done_to)) is not None:
            done, message = True, f"done with job {sibling}, which is in its group"
        results.append({"id": job_id, "ok": done, "message": message})
        if not terminal.json:
            (terminal.say if done else terminal.warn)(f"{'' if done else 'jqueue: '}job {job_id}: {message}")
    if terminal.json:
        terminal.emit(results)
    return Exit.OK if all(result["ok"] for result in results) else Exit.ERROR


def _sibling(terminal: Terminal, job_id: int, others: Sequence[int]) -> int | None:
    """Finds one of some jobs that is in the group of a job."""
    if not others:
        return None
    (row,) = query(terminal.connection(), [job_id], ("id", "members"))
    first, last = row["members"] or (0, -1)
    return next((other for other in others if first <= other <= last), None)
