"""Random trees on three sides: an update names each path that differs between the renders, and no path of the user."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quickset.errors import QuicksetError
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.updating.changes import Change, require_complete
from quickset.updating.merge import MergeResult, merge
from quickset.updating.repository import Repository
from quickset.updating.scratch import scratch_repository
from quickset.updating.tree import Entry
from tests.updates.harness import git, write
from tests.updates.test_properties import EXAMPLES

ONCE = "once.txt"
PATHS = ("a/one.txt", "a/two.txt", "a/b/three.txt", "c/four.py", "five.md", "lib/six.txt", ONCE)
# Paths where either side moves or adds a file. Some are below a file of the template, some would replace its folder.
PLACES = ("a/new.txt", "z/new.txt", "d/new.txt", "lib/new.txt", "five.md/new.txt", "c", "new")
OWN = ("mine/own.txt", "a/own.txt", "a/b/own.txt", "d", "z/own.txt")
IGNORED = ("lib/", "*.md", "new.txt", "/d/", "z")

Files = dict[str, str]
# The change to each file, and its new path if it moves.
operation = st.tuples(
    st.sampled_from(["keep"] * 4 + ["edit", "edit", "rewrite", "delete", "move", "move and edit"]),
    st.sampled_from(PLACES),
)


@dataclass(frozen=True)
class Side:
    """The changes that one side makes to the files of the old render."""

    files: Mapping[str, tuple[str, str]]
    added: set[str]
    folder: tuple[str, str] | None
    """A folder that this side renames."""


side = st.builds(
    Side,
    files=st.fixed_dictionaries(dict.fromkeys(PATHS, operation)),
    added=st.sets(st.sampled_from(PLACES), max_size=3),
    folder=st.sampled_from([None, None, ("a", "z"), ("a/b", "mine"), ("c", "a/c")]),
)


def text(name: str) -> str:
    """Return a text that is different for each name."""
    return "".join(f"{name} {number}\n" for number in range(12))


def old_render() -> Files:
    return {path: text(path) for path in PATHS}


def fits(path: str, files: Mapping[str, str]) -> bool:
    """Return whether a file can be added: the path is free, and no file has the place of a folder."""
    return not any(f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/") for other in files)


def apply_update(wanted: Side, by: str) -> tuple[Files, dict[str, str]]:
    """Return the result of one side's changes to the old render, and its moves."""
    files, moved = old_render(), {path: path for path in PATHS}
    for path, (kind, place) in wanted.files.items():
        content = files[path]
        if kind in {"edit", "move and edit"}:
            content = content.replace(f"{path} 3\n", f"{by} edit of {path}\n")
        if kind == "rewrite":
            content = text(f"{by} {path}")
        files[path] = content
        if kind.startswith("move") or kind == "delete":
            del files[path]
        if kind.startswith("move") and fits(place, files):
            files[place], moved[path] = content, place
    before, after = wanted.folder or ("-", "-")
    for path in [path for path in files if path.startswith(f"{before}/")]:
        goal = f"{after}{path.removeprefix(before)}"
        if fits(goal, files):
            files[goal] = files.pop(path)
            moved = {source: goal if at == path else at for source, at in moved.items()}
    for path in sorted(wanted.added):
        if fits(path, files):
            files[path] = text(f"{by} {path}")
    return files, moved


def merge_in(folder: Path, new: Files, user: Files, own: Files) -> tuple[MergeResult, Repository]:
    """Merge in a repository with two commits: the new service with files of the user, and the service of today."""
    top = folder / "service"
    first = old_render() | {ANSWERS_FILE: "_commit: 1\n"}
    write(folder / "old", first)
    write(folder / "new", new | {ANSWERS_FILE: "_commit: 2\n"})
    top.mkdir()
    git("init", "--quiet", cwd=top)
    for files in (first | own, user | own | {ANSWERS_FILE: "_commit: 1\n"}):
        git("rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".", cwd=top)
        write(top, files)
        git("add", "--all", "--force", cwd=top)
        git("commit", "--quiet", "--no-gpg-sign", "--allow-empty", "--message", "Mine", cwd=top)
    repository = Repository.around(top)
    with scratch_repository(repository) as work:
        result = merge(
            work, repository, old=folder / "old", new=folder / "new", label="v2", is_written_once=ONCE.__eq__
        )
    return result, repository


@pytest.mark.ci
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    mine=side,
    theirs=side,
    own=st.sets(st.sampled_from(OWN)),
    ignored=st.sets(st.sampled_from(IGNORED), max_size=2),
    alike=st.sampled_from(["", "a/one.txt"]),
)
def test_everything_is_accounted_for(
    mine: Side,
    theirs: Side,
    own: set[str],
    ignored: set[str],
    alike: str,
) -> None:
    """Each path that differs between the renders is reported with its outcome, and a file of the user never is."""
    old, (new, _), (user, moved) = old_render(), apply_update(theirs, "theirs"), apply_update(mine, "mine")
    for path in sorted(own):
        if fits(path, user):
            user[path] = text(f"own {path}")
    if ignored:
        user[".gitignore"] = "".join(f"{pattern}\n" for pattern in sorted(ignored))
    # An older file that is similar to a file of the template.
    similar = {"mine/alike.txt": text(alike).replace(f"{alike} 5", "mine")} if alike else {}
    with tempfile.TemporaryDirectory() as folder:
        result, repository = merge_in(Path(folder), new, user, similar)
        changes = [change for change in result.changes if change.path != ANSWERS_FILE]

        differing = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
        named = {name for change in changes for name in (change.path, change.source, *change.template_paths) if name}
        assert differing - named == set()
        theirs_by_now = old.keys() | new.keys() | set(moved.values())
        strangers = {path for path in user.keys() - theirs_by_now if fits(path, dict.fromkeys(theirs_by_now, ""))}
        strangers |= similar.keys()
        assert strangers & (named | result.after.keys()) == set()
        assert len({change.path for change in changes}) == len(changes)
        assert result.after.keys() - {ANSWERS_FILE} <= named
        ignores = repository.ignored(change.path for change in changes)
        for change in changes:
            after = result.after.get(change.path)
            assert (change.path in result.stages) == (change.kind == "conflict"), change
            if change.kind in {"added", "changed", "merged", "moved"}:
                assert after, change
            if change.kind == "removed":
                assert change.path in result.after, change
                assert after is None, change
            if change.kind in {"kept", "yours", "deleted", "ignored"}:
                assert change.path not in result.after, change
            if change.kind == "ignored":
                assert change.path in ignores, change


ONE, TWO = Entry("100644", "1" * 40), Entry("100644", "2" * 40)


@pytest.mark.parametrize(
    ("changes", "touched", "wrong"),
    [
        ([], {}, "a.txt"),
        ([Change("a.txt", "changed"), Change("mine.txt", "merged")], {"a.txt": TWO, "mine.txt": TWO}, "mine.txt"),
        ([Change("a.txt", "changed")], {"a.txt": TWO, "mine.txt": None}, "mine.txt"),
        ([Change("b.txt", "moved", "mine.txt")], {}, "a.txt"),
    ],
)
def test_incomplete_report(changes: list[Change], touched: dict[str, Entry | None], wrong: str) -> None:
    """A plan is refused if its report omits a file of the template, or if it touches a file of the user."""
    with pytest.raises(QuicksetError, match=rf"internal error: .* {wrong}\b.* Nothing was touched"):
        require_complete(changes, {"a.txt": ONE}, {"a.txt": TWO}, touched)


def test_complete_report() -> None:
    """A file that the user moved is reported under the template's path."""
    change = Change("mine.txt", "merged", template_paths=("a.txt",))

    require_complete([change], {"a.txt": ONE}, {"a.txt": TWO}, {"mine.txt": TWO})
