"""What verbs that act on jobs one by one share: do it, say what came of it, exit accordingly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jqueue import errors
from jqueue.cli.exit import Exit
from jqueue.cli.terminal import Terminal


def act(terminal: Terminal, ids: Sequence[int], action: Callable[[int], tuple[bool, str]]) -> int:
    """Acts on each job; one that refuses does not stop the others.

    @param action: does it, and gives whether it was done, and the words for it
    @return: good if it was done to all of them
    """
    results = []
    for job_id in ids:
        try:
            done, message = action(job_id)
        except (errors.JobLost, errors.OpPrereqError) as error:
            done, message = False, error.text
        results.append({"id": job_id, "ok": done, "message": message})
        if not terminal.json:
            (terminal.say if done else terminal.warn)(f"{'' if done else 'jqueue: '}job {job_id}: {message}")
    if terminal.json:
        terminal.emit(results)
    return Exit.OK if all(result["ok"] for result in results) else Exit.ERROR
