from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from jqueue.errors import JobCanceled, OpExecError, OpPrereqError
from jqueue.opcodes.base import COMPLETE, LEAVE
from jqueue.opcodes.mirrortree import OpMirrorTree
from jqueue.opcodes.treediff import temporary_prefix
from jqueue.opcodes.treesync import TreeSync

from .trees import NOT_UTF8, Clock, Context, Rig, fill, names, snapshot


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, Clock(monkeypatch))


def switched(rig: Rig, end: str = COMPLETE) -> tuple[OpMirrorTree, Context]:
    """Runs a mirror with a link up to `commit`."""
    fill(rig.source)
    rig.run(end=end, link=str(rig.top / "link"))
    return rig.op(link=str(rig.top / "link")), rig.context


# What it says of itself


def test_it_converges_and_can_be_cancelled_and_run_again() -> None:
    op = OpMirrorTree(source="/a", target="/b", speed=5)
    assert op.converges() and op.stoppable and op.restartable and op.supports_dry_run
    assert op.start_speed() == 5
    assert op.summary() == "MIRROR_TREE(/b)"


def test_the_source_is_shared_and_the_target_and_the_link_are_exclusive(rig: Rig) -> None:
    top = os.path.realpath(rig.top)
    assert rig.op().all_locks() == {"file": {f"{top}/source": "shared", f"{top}/target": "exclusive"}}
    assert rig.op(link=str(rig.top / "link")).all_locks()["file"][f"{top}/link.jqueue-link"] == "exclusive"


def test_a_link_that_leads_to_the_source_does_not_keep_its_readers_out(rig: Rig) -> None:
    link = rig.top / "link"
    link.symlink_to(rig.top / "source")
    locks = rig.op(link=str(link)).all_locks()["file"]
    assert locks[os.path.realpath(rig.top / "source")] == "shared"


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"source": "a"}, 'ops[0].source: absolute path of a directory expected, got "a"'),
        ({"target": "b"}, 'ops[0].target: absolute path of a directory expected, got "b"'),
        ({"speed": -1}, "ops[0].speed: at least 0 expected, got -1"),
        ({"rescan": 0}, "ops[0].rescan: more than 0 expected, got 0"),
        ({"link": "l"}, 'ops[0].link: absolute path of a symbolic link expected, got "l"'),
        ({"link": "/l/"}, 'ops[0].link: absolute path of a symbolic link expected, got "/l/"'),
        ({"link": "/l/.."}, 'ops[0].link: absolute path of a symbolic link expected, got "/l/.."'),
        ({"target": "/a/"}, "ops[0].target: another directory than the source expected, got /a"),
        ({"target": "/a/b"}, "ops[0].target: a directory outside of the source expected, got /a/b"),
        ({"target": "/c/../a/b"}, "ops[0].target: a directory outside of the source expected, got /a/b"),
        ({"target": "/"}, "ops[0].target: a directory that does not hold the source expected, got /"),
        ({"source": "/"}, "ops[0].target: a directory outside of the source expected, got /b"),
        ({"link": "/a/l"}, "ops[0].link: a path outside of source expected, got /a/l"),
        ({"link": "/b"}, "ops[0].link: a path outside of target expected, got /b"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, object], complaint: str) -> None:
    with pytest.raises(OpPrereqError) as caught:
        OpMirrorTree.from_dict({"source": "/a", "target": "/b", **parameters})
    assert str(caught.value) == complaint


def test_directories_that_are_only_named_alike_are_no_overlap() -> None:
    OpMirrorTree(source="/a", target="/ab", link="/abc")
    OpMirrorTree(source="/ab/", target="/a/")


# What it refuses when it runs


@pytest.mark.parametrize(
    ("source", "target"), [("source", "alias"), ("source", "alias/below"), ("alias/below", "source")]
)
def test_trees_that_overlap_by_a_link_are_refused(rig: Rig, source: str, target: str) -> None:
    (rig.source / "below").mkdir()
    (rig.top / "alias").symlink_to("source")
    op = OpMirrorTree(source=str(rig.top / source), target=str(rig.top / target))
    with pytest.raises(OpExecError, match="cannot be kept in step with"):
        op.exec(rig.context)
    assert names(rig.top) == ["alias", "source", "source/below"]


@pytest.mark.parametrize(
    ("source", "target", "dry_run"), [("source", "alias", False), ("source", "alias", True), ("alias", "source", False)]
)
def test_trees_that_overlap_in_a_way_that_no_path_tells_are_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, source: str, target: str, dry_run: bool
) -> None:
    # As with a directory that is mounted at a second place: what its path leads to tells nothing.
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    (rig.source / "below" / "kept").mkdir(parents=True)
    (rig.top / "alias").symlink_to("source/below")
    op = OpMirrorTree(source=str(rig.top / source), target=str(rig.top / target))
    with pytest.raises(OpExecError, match="is the other tree itself: one of the two is inside the other"):
        op.exec(Context(rig.clock, dry_run=dry_run))
    assert (rig.source / "below").is_dir()


@pytest.mark.parametrize("tree", ["source", "target"])
def test_a_link_that_is_inside_a_tree_by_another_way_is_refused(rig: Rig, tree: str) -> None:
    rig.target.mkdir()
    (rig.top / "alias").symlink_to(tree)
    with pytest.raises(OpExecError, match=f"alias/link is inside .*/{tree}; choose"):
        rig.op(link=str(rig.top / "alias" / "link")).exec(rig.context)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_link_that_is_none_is_refused_before_any_work_and_again_in_the_end(rig: Rig, kind: str) -> None:
    link = rig.top / "link"
    op = rig.op(link=str(link))
    make = link.touch if kind == "file" else link.mkdir
    make()
    with pytest.raises(OpExecError, match="link exists and is no symbolic link; move it away"):
        op.exec(rig.context)
    assert not rig.target.exists()
    link.rename(rig.top / "away")
    op.exec(rig.context)
    make()
    with pytest.raises(OpExecError, match="exists and is no symbolic link"):
        op.prepare(rig.context)


def test_a_link_in_a_directory_that_is_not_there_is_refused(rig: Rig) -> None:
    with pytest.raises(OpExecError, match="none/link cannot be made: there is no such directory; create it"):
        rig.op(link=str(rig.top / "none" / "link")).exec(rig.context)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_source_that_is_no_directory_is_named_and_no_target_is_made(rig: Rig, kind: str) -> None:
    rig.source.rmdir()
    if kind == "file":
        rig.source.touch()
    with pytest.raises(OpExecError, match=r"source cannot be opened: (No such file or|Not a) directory"):
        rig.op().exec(rig.context)
    assert not rig.target.exists()


def test_a_target_that_is_no_directory_is_named(rig: Rig) -> None:
    rig.target.touch()
    with pytest.raises(OpExecError, match="target cannot be made: File exists"):
        rig.op().exec(rig.context)


def test_a_target_is_made_with_all_that_leads_to_it(rig: Rig) -> None:
    fill(rig.source)
    target = rig.top / "x" / "y"
    OpMirrorTree(source=str(rig.source), target=str(target)).exec(rig.context)
    assert snapshot(target) == snapshot(rig.source)


def test_the_trees_may_be_given_as_links(rig: Rig) -> None:
    fill(rig.source)
    rig.target.mkdir()
    for name in ("source", "target"):
        (rig.top / f"{name}-link").symlink_to(name)
    op = OpMirrorTree(source=str(rig.top / "source-link"), target=str(rig.top / "target-link"))
    op.exec(rig.context)
    assert rig.same()
    assert (rig.top / "target-link").is_symlink()


# Attempts


def test_a_second_attempt_copies_only_what_is_missing(rig: Rig) -> None:
    fill(rig.source)
    first = Context(rig.clock, stop_at=12)
    with pytest.raises(JobCanceled):
        rig.op().exec(first)
    rig.op().abort(first)
    there = [name for name in ("file", "a/none", "a/b/" + NOT_UTF8) if (rig.target / name).exists()]
    second = Context(rig.clock)
    second.saved = first.saved
    assert there == ["file"]
    assert rig.op().exec(second)["files"] == 2
    assert rig.same()


@pytest.mark.parametrize("tree", ["source", "target"])
def test_a_second_attempt_refuses_other_directories_than_the_first_had(rig: Rig, tree: str) -> None:
    fill(rig.source)
    rig.run()
    (rig.top / tree).rename(rig.top / "unmounted")
    (rig.top / tree).mkdir()
    with pytest.raises(OpExecError, match=f"{tree} is another directory than in the attempt before"):
        rig.op().exec(rig.context)
    assert (rig.top / ("target" if tree == "source" else "unmounted") / "file").exists()


def test_abort_removes_temporary_files_and_keeps_the_mirror(rig: Rig) -> None:
    op, context = switched(rig)
    before = snapshot(rig.target)
    for name in ("", "a/b"):
        (rig.target / name / f"{temporary_prefix(1, 0)}0a1b2c3d.part").touch()
    (rig.top / f"{temporary_prefix(1, 0)}switch.part").symlink_to("x")
    op.abort(context)
    op.abort(context)
    assert names(rig.target) == [name for name in sorted(before) if name != "."]
    assert sorted(os.listdir(rig.top)) == ["source", "target"]


def test_abort_without_a_target_does_nothing(rig: Rig) -> None:
    op, context = switched(rig)
    shutil.rmtree(rig.target)
    op.abort(context)
    assert sorted(os.listdir(rig.top)) == ["source"]


def test_callbacks_without_exec_do_nothing(rig: Rig) -> None:
    op = rig.op(link=str(rig.top / "link"))
    op.prepare(rig.context)
    op.commit(rig.context)
    op.abort(rig.context)
    assert os.listdir(rig.top) == ["source"]


def test_all_descriptors_are_closed_however_it_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(rig.source)
    before = len(os.listdir("/proc/self/fd"))
    for stop_at in (3, 9, 15, 1000):
        try:
            rig.op().exec(Context(rig.clock, stop_at=stop_at))
        except JobCanceled:
            assert stop_at < 1000
        assert len(os.listdir("/proc/self/fd")) == before

    def fail(sync: TreeSync) -> None:
        raise OpExecError("failed")

    monkeypatch.setattr(TreeSync, "bring_all", fail)
    with pytest.raises(OpExecError, match="failed"):
        rig.op().exec(Context(rig.clock))
    assert len(os.listdir("/proc/self/fd")) == before


# The link


def test_the_link_leads_to_the_target_once_committed_and_not_before(rig: Rig) -> None:
    (rig.top / "link").symlink_to("source")
    op, context = switched(rig)
    op.prepare(context)
    assert os.readlink(rig.top / "link") == "source"
    op.commit(context)
    op.commit(context)
    assert os.readlink(rig.top / "link") == str(rig.target)
    assert sorted(os.listdir(rig.top)) == ["link", "source", "target"]


def test_a_soft_cancel_leaves_the_link_alone(rig: Rig) -> None:
    op, context = switched(rig, end=LEAVE)
    op.prepare(context)
    op.commit(context)
    assert not os.path.lexists(rig.top / "link")


def test_an_attempt_that_was_completed_does_not_count_for_one_that_is_left(rig: Rig) -> None:
    op, context = switched(rig)
    again = Context(rig.clock, stop_at=1)
    again.saved = context.saved
    with pytest.raises(JobCanceled):
        op.exec(again)
    op.commit(again)
    assert not os.path.lexists(rig.top / "link")


def test_the_link_is_there_at_every_moment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.top / "link").symlink_to("source")
    op, context = switched(rig)
    seen = []
    for call in ("unlink", "symlink", "rename", "fsync"):
        real = getattr(os, call)

        def watched(*arguments: object, real: object = real) -> object:
            seen.append(os.readlink(rig.top / "link"))
            assert callable(real)
            return real(*arguments)

        monkeypatch.setattr(os, call, watched)
    op.commit(context)
    assert seen == ["source"] * 3 + [str(rig.target)]


@pytest.mark.parametrize("call", ["symlink", "rename", "fsync"])
def test_commit_goes_on_where_a_failure_left_it(rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    op, context = switched(rig)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OpExecError, match="link cannot be switched: Input/output error"):
            op.commit(context)
    op.commit(context)
    assert os.readlink(rig.top / "link") == str(rig.target)
    assert sorted(os.listdir(rig.top)) == ["link", "source", "target"]


def test_commit_never_replaces_anything_but_a_link(rig: Rig) -> None:
    op, context = switched(rig)
    (rig.top / "link").write_text("precious")
    with pytest.raises(OpExecError, match="exists and is no symbolic link"):
        op.commit(context)
    assert (rig.top / "link").read_text() == "precious"


def test_without_a_link_commit_changes_nothing(rig: Rig) -> None:
    fill(rig.source)
    rig.run()
    rig.op().prepare(rig.context)
    rig.op().commit(rig.context)
    assert sorted(os.listdir(rig.top)) == ["source", "target"]


# Telling


def test_a_dry_run_lists_what_it_would_do_and_does_nothing(rig: Rig) -> None:
    fill(rig.source)
    context = Context(rig.clock, dry_run=True)
    op = rig.op(link=str(rig.top / "link"))
    assert op.exec(context) == {"files": 3, "bytes": 700_003, "passes": 0, "completed": False}
    op.prepare(context)
    op.commit(context)
    op.abort(context)
    assert os.listdir(rig.top) == ["source"]
    assert f"copy {rig.target}/file, 700000 bytes" in context.lines()
    assert len(context.lines()) == 8
    assert context.readied == []


def test_a_dry_run_compares_with_what_is_there(rig: Rig) -> None:
    fill(rig.source)
    rig.run()
    (rig.target / "extra").touch()
    (rig.target / "empty").chmod(0o500)
    before = snapshot(rig.target)
    context = Context(rig.clock, dry_run=True)
    assert rig.op().exec(context)["files"] == 0
    assert context.lines() == [f"remove {rig.target}/extra"]
    assert snapshot(rig.target) == before


def test_every_step_is_logged_at_a_higher_debug_level(rig: Rig) -> None:
    (rig.source / "file").touch()
    rig.run(debug_level=1)
    assert rig.context.lines() == [f"copy {rig.target}/file, 0 bytes", f"set attributes of {rig.target}"]
