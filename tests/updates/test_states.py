"""States of a repository before, during and after an update."""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quickset.errors import ConflictError, QuicksetError, RefusedError
from quickset.templates.answers_file import ANSWERS_FILE
from tests.updates.harness import NUMBERS, SERVICE_PY, Lab, copy, git, kinds, same
from tests.updates.processes import Driver

pytestmark = pytest.mark.ci

MINE = NUMBERS.replace("line 05", "mine 5")
THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5"), "blocks.yaml": "theirs\n", "added/new.txt": "new\n"}


def conflicting(lab: Lab) -> None:
    """Bring a service to an update with one conflict."""
    lab.commit({"numbers.txt": MINE})
    lab.release({**THEIRS, SERVICE_PY: None})


def refused(lab: Lab, *words: str) -> QuicksetError:
    """Require that an update is refused and changes nothing."""
    before = lab.snapshot()
    with pytest.raises(QuicksetError) as error:
        lab.update()
    for word in words:
        assert word in str(error.value)
    same(lab.snapshot(), before)
    return error.value


# --- Before an update ------------------------------------------------------------------------------------------------


def test_markers_already_there(lab: Lab) -> None:
    """Conflict markers that the user committed are merged like any other text."""
    left = "<<<<<<< HEAD\nmine\n=======\ntheirs\n>>>>>>> main\n"
    lab.commit({"notes.txt": left, "numbers.txt": NUMBERS + left})
    lab.release(THEIRS)

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("numbers.txt") == THEIRS["numbers.txt"] + left
    assert lab.read("notes.txt") == left


def test_markers_already_there_and_a_conflict(lab: Lab) -> None:
    """Markers that were committed before do not block `--continue`."""
    left = "<<<<<<< HEAD\nmine\n=======\ntheirs\n>>>>>>> main\n"
    lab.commit({"notes.txt": left, "numbers.txt": MINE})
    lab.release(THEIRS)
    lab.update()
    lab.write({"numbers.txt": MINE})
    lab.git("add", "--all")

    lab.resume()

    assert lab.at() == "0.2.0"
    assert lab.read("notes.txt") == left


@pytest.mark.parametrize("command", ["merge", "rebase", "cherry-pick", "revert"])
def test_something_in_progress(lab: Lab, command: str) -> None:
    """During another git operation an update is refused with the name of that operation."""
    lab.commit({"mine.txt": "one\n"})
    lab.git("switch", "--quiet", "--create", "side")
    side = lab.commit({"mine.txt": "side\n"})
    lab.git("switch", "--quiet", "-")
    lab.commit({"mine.txt": "two\n"})
    arguments = ["HEAD~1"] if command == "revert" else ["side"] if command != "cherry-pick" else [side]
    lab.git(command, *arguments, check=False)
    lab.release(THEIRS)

    assert isinstance(refused(lab, command), RefusedError)

    lab.git(command, "--abort")
    lab.assert_clean(lab.update())


def test_merge_in_progress_without_a_conflict(lab: Lab) -> None:
    """A merge that only waits for its commit counts as an operation."""
    lab.git("switch", "--quiet", "--create", "side")
    lab.commit({"mine.txt": "side\n"})
    lab.git("switch", "--quiet", "-")
    lab.commit({"other.txt": "two\n"})
    lab.git("merge", "--quiet", "--no-commit", "side", check=False)
    lab.release(THEIRS)

    assert isinstance(refused(lab, "merge"), RefusedError)


def test_unmerged_index(lab: Lab) -> None:
    """Unmerged paths of a stash are refused by name."""
    lab.write({"numbers.txt": MINE})
    lab.git("stash", "--quiet")
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "other 5")})
    lab.git("stash", "pop", "--quiet", check=False)
    lab.release(THEIRS)

    refused(lab, "numbers.txt")


@pytest.mark.parametrize("content", ["", "DIRC"])
def test_index_is_locked(lab: Lab, content: str) -> None:
    """While another git process holds the index lock, an update is refused before it writes."""
    conflicting(lab)
    before = lab.snapshot()
    lock = lab.git_dir / "index.lock"
    lock.write_text(content)

    with pytest.raises(RefusedError, match=r"index\.lock.*Nothing was touched"):
        lab.update()

    same(lab.snapshot(), before)
    assert lock.read_text() == content
    assert [path.name for path in (lab.git_dir / "quickset").iterdir()] == ["lock"]
    lock.unlink()
    lab.assert_conflict(lab.update(), "numbers.txt")


@pytest.mark.parametrize("options", [(), ("--all",), ("--", "run.sh")], ids=["plain", "all", "paths"])
@pytest.mark.parametrize("work_tree", ["main", "linked"])
def test_update_in_a_hook(lab: Lab, tmp_path: Path, options: tuple[str, ...], work_tree: str) -> None:
    """In a hook of `git commit` an update is refused with the reason, and the commit has only staged changes."""
    lab.release(THEIRS)
    hook = lab.git_dir / "hooks" / "pre-commit"
    if work_tree == "linked":
        lab.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
        lab = replace(lab, top=tmp_path / "linked", path=tmp_path / "linked" / lab.path.relative_to(lab.top))
    hook.parent.mkdir(exist_ok=True)
    program = (
        "import sys; from pathlib import Path; from quickset.errors import QuicksetError; "
        "from quickset.templates.source import Source; from quickset.commands.update import Request, update\n"
        f"try: update(Request(path=Path({str(lab.path)!r})), template_source=Source(Path({str(lab.origin)!r})))\n"
        "except QuicksetError as error: print(error.exit_code, error, file=sys.stderr)"
    )
    error = tmp_path / "error"
    hook.write_text(f"#!/bin/sh\n{shlex.join([sys.executable, '-c', program])} 2>{shlex.quote(str(error))}\n")
    hook.chmod(0o755)
    lab.write({"run.sh": "#!/bin/sh\n# mine\n"})
    if not options:
        lab.git("add", "--all")

    lab.git("commit", "--quiet", "--no-gpg-sign", "--message", "Mine", *options)

    assert error.read_text().startswith("4 a hook of `git commit` runs in ")
    assert lab.git("show", "--format=", "--name-only", "HEAD").split() == ["run.sh"]
    assert lab.git("status", "--porcelain", "--untracked-files=no") == ""


def test_branch_in_a_hook(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update on its own branch does not use the index, so a hook may run it."""
    lab.release(THEIRS)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_INDEX_FILE", str(lab.git_dir / "index"))

        result = lab.update(branch="quickset/update")

    assert lab.git("show", "--format=", "quickset/update:numbers.txt") == THEIRS["numbers.txt"]
    assert result.branch == "quickset/update"


def test_hook_of_another_repository(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of another repository may update a service, although its index path is relative."""
    lab.release(THEIRS)
    git("init", "--quiet", str(tmp_path / "other"), cwd=tmp_path)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "other")
        patch.setenv("GIT_INDEX_FILE", ".git/index")

        result = lab.update()

    lab.assert_clean(result)


# --- --continue ------------------------------------------------------------------------------------------------------


def test_continue(lab: Lab) -> None:
    """After every conflict is resolved and staged, `--continue` stages the new recorded version."""
    conflicting(lab)
    head = lab.git("rev-parse", "HEAD")
    lab.update()
    lab.write({"numbers.txt": NUMBERS.replace("line 05", "both 5")})
    lab.git("add", "numbers.txt")

    result = lab.resume()

    assert result.conflicts == ()
    lab.assert_clean(result)
    assert lab.git("rev-parse", "HEAD") == head
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""
    assert lab.read("numbers.txt") == NUMBERS.replace("line 05", "both 5")
    assert not lab.exists("app/orders/service.py")
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5").replace("line 50", "again 50")})
    lab.assert_clean(lab.update())
    assert lab.read("numbers.txt") == NUMBERS.replace("line 05", "both 5").replace("line 50", "again 50")


def test_continue_wants_no_unmerged_path(lab: Lab) -> None:
    """With an unmerged path `--continue` is refused with its name and changes nothing."""
    conflicting(lab)
    lab.update()
    lab.write({"numbers.txt": MINE})
    before = lab.snapshot()

    with pytest.raises(QuicksetError, match=r"numbers\.txt") as error:
        lab.resume()

    assert error.value.exit_code == 3
    same(lab.snapshot(), before)
    assert lab.at() == "0.1.0"
    assert lab.journal.exists()


def test_continue_wants_no_markers(lab: Lab) -> None:
    """A staged file with conflict markers is refused with its name."""
    conflicting(lab)
    lab.update()
    lab.git("add", "--all")
    before = lab.snapshot()

    with pytest.raises(QuicksetError, match=r"numbers\.txt") as error:
        lab.resume()

    assert error.value.exit_code == 3
    same(lab.snapshot(), before)
    assert lab.at() == "0.1.0"


def test_continue_with_one_of_two(lab: Lab) -> None:
    """`--continue` requires that both conflicts are resolved."""
    lab.commit({"numbers.txt": MINE, "blocks.yaml": "mine\n"})
    lab.release(THEIRS)
    lab.assert_conflict(lab.update(), "blocks.yaml", "numbers.txt")
    lab.write({"numbers.txt": MINE})
    lab.git("add", "numbers.txt")

    with pytest.raises(ConflictError, match=r"blocks\.yaml"):
        lab.resume()

    lab.git("checkout", "--quiet", "--theirs", "blocks.yaml")
    lab.git("add", "blocks.yaml")
    lab.resume()
    assert lab.at() == "0.2.0"


def test_continue_after_deleting(lab: Lab) -> None:
    """Deleting the file is a valid resolution of its conflict."""
    conflicting(lab)
    lab.update()
    lab.git("rm", "--quiet", "numbers.txt")

    lab.resume()

    assert lab.at() == "0.2.0"
    assert not lab.exists("numbers.txt")


def test_continue_after_a_commit(lab: Lab) -> None:
    """A resolution that is already committed can be continued, and the recorded version is then staged."""
    conflicting(lab)
    lab.update()
    lab.commit({"numbers.txt": MINE}, message="Update")

    lab.resume()

    assert lab.at() == "0.2.0"
    assert lab.staged(ANSWERS_FILE) == lab.read_bytes(ANSWERS_FILE)
    assert lab.stages() == {}


def test_continue_keeps_edits_of_others(lab: Lab) -> None:
    """Edits that the user makes during a conflict are kept, staged or not."""
    conflicting(lab)
    lab.update()
    lab.write({"numbers.txt": MINE, "run.sh": "#!/bin/sh\n# mine\n", "blocks.yaml": "theirs, then mine\n"})
    lab.git("add", "numbers.txt")

    lab.resume()

    assert lab.read("run.sh") == "#!/bin/sh\n# mine\n"
    assert lab.read("blocks.yaml") == "theirs, then mine\n"
    assert lab.staged("blocks.yaml") == b"theirs\n"


def test_nothing_to_continue(lab: Lab) -> None:
    """Without an update `--continue` and `--abort` are refused with that reason."""
    before = lab.snapshot()

    for action in (lab.resume, lab.abort):
        with pytest.raises(QuicksetError, match=r"no(thing|t)? ") as error:
            action()
        assert error.value.exit_code in {2, 4}

    same(lab.snapshot(), before)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"phase": "dancing"}'])
def test_damaged_journal(lab: Lab, content: str) -> None:
    """A journal that cannot be read is refused with its path, and nothing changes."""
    lab.release(THEIRS)
    lab.journal.parent.mkdir(exist_ok=True)
    lab.journal.write_text(content)
    before = lab.snapshot()

    for action in (lab.update, lab.resume, lab.abort, lab.preview):
        with pytest.raises(QuicksetError, match=r"journal\.json"):
            action()

    same(lab.snapshot(), before)


# --- A second update in between --------------------------------------------------------------------------------------


def test_update_over_conflicts(lab: Lab) -> None:
    """With open conflicts a second update and a preview are refused with the next steps."""
    conflicting(lab)
    lab.update()

    assert isinstance(refused(lab, "--continue", "--abort"), ConflictError)
    with pytest.raises(ConflictError):
        lab.preview()


# --- --abort ---------------------------------------------------------------------------------------------------------


def test_abort(lab: Lab) -> None:
    """An abort restores HEAD, the index and all files, including staged, dirty and untracked ones."""
    conflicting(lab)
    lab.write({"run.sh": "#!/bin/sh\n# dirty\n", "unended.txt": "staged", "mine/untracked.txt": "x\n"})
    lab.git("add", "unended.txt")
    before = lab.snapshot()
    lab.update()
    assert lab.snapshot() != before

    lab.abort()

    same(lab.snapshot(), before)
    assert not lab.journal.exists()
    assert lab.stages() == {}
    lab.assert_conflict(lab.update(), "numbers.txt")


def test_abort_after_a_resolution(lab: Lab) -> None:
    """An abort that would lose a resolution is refused with the file's name."""
    conflicting(lab)
    before = lab.snapshot()
    lab.update()
    lab.write({"numbers.txt": NUMBERS.replace("line 05", "both 5")})
    edited = lab.snapshot()

    with pytest.raises(RefusedError, match=r"numbers\.txt"):
        lab.abort()

    same(lab.snapshot(), edited)
    lab.write({"numbers.txt": None})
    lab.abort()
    same(lab.snapshot(), before)


@pytest.mark.parametrize("name", ["blocks.yaml", "added/new.txt"])
def test_abort_after_an_edit(lab: Lab, name: str) -> None:
    """An abort does not lose an edit of a file that was merged without a conflict."""
    conflicting(lab)
    lab.update()
    lab.write({name: "theirs, then mine\n"})
    edited = lab.snapshot()

    with pytest.raises(RefusedError, match=name):
        lab.abort()

    same(lab.snapshot(), edited)


def test_abort_after_the_removed_came_back(lab: Lab) -> None:
    """A file that the update removed and the user created again is not overwritten."""
    conflicting(lab)
    lab.update()
    lab.write({"app/orders/service.py": "mine\n"})
    edited = lab.snapshot()

    with pytest.raises(RefusedError, match=r"app/orders/service\.py"):
        lab.abort()

    same(lab.snapshot(), edited)


def test_abort_after_an_edit_elsewhere(lab: Lab) -> None:
    """Edits of files that the update did not change survive an abort."""
    conflicting(lab)
    before = lab.snapshot()
    lab.update()
    lab.write({"run.sh": "#!/bin/sh\n# mine\n", "fresh.txt": "mine\n"})
    lab.git("add", "fresh.txt")

    lab.abort()

    assert lab.read("run.sh") == "#!/bin/sh\n# mine\n"
    assert lab.read("fresh.txt") == "mine\n"
    assert lab.git("status", "--porcelain").split("\n")[:-1] == [" M run.sh", "A  fresh.txt"] or lab.git(
        "ls-files", "fresh.txt"
    )
    lab.git("rm", "--quiet", "--cached", "fresh.txt")
    (lab.path / "fresh.txt").unlink()
    lab.git("checkout", "--quiet", "run.sh")
    same(lab.snapshot(), before)


def test_abort_after_a_commit(lab: Lab) -> None:
    """After a new commit an abort is refused with the reason."""
    conflicting(lab)
    lab.update()
    lab.commit({"numbers.txt": MINE}, message="Update")
    before = lab.snapshot()

    with pytest.raises(RefusedError, match=r"HEAD"):
        lab.abort()

    same(lab.snapshot(), before)


def test_abort_on_another_branch(lab: Lab) -> None:
    """On another branch an abort is refused with the reason."""
    lab.git("branch", "side")
    conflicting(lab)
    lab.update()
    lab.git("symbolic-ref", "HEAD", "refs/heads/side")
    before = lab.snapshot()

    with pytest.raises(RefusedError, match=r"HEAD"):
        lab.abort()

    same(lab.snapshot(), before)


def test_abort_twice(lab: Lab) -> None:
    """A second abort has nothing to do and changes nothing."""
    conflicting(lab)
    before = lab.snapshot()
    lab.update()
    lab.abort()

    with pytest.raises(QuicksetError):
        lab.abort()

    same(lab.snapshot(), before)


def test_abort_restores_modes_and_links(lab: Lab) -> None:
    """An abort restores modes and links."""
    (lab.path / "blocks.yaml").chmod(0o755)
    (lab.path / "link").symlink_to("numbers.txt")
    conflicting(lab)
    before = lab.snapshot()
    lab.update()
    assert os.access(lab.path / "blocks.yaml", os.X_OK)

    lab.abort()

    same(lab.snapshot(), before)


# --- Several at once -------------------------------------------------------------------------------------------------


def test_two_at_once(lab: Lab, driver: Driver) -> None:
    """Of two simultaneous updates in one repository one waits or is refused, and the result is that of one."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release(THEIRS)

    jobs = [driver.start("update", lab.path, lab.origin) for _ in range(3)]
    codes = [driver.wait(job) for job in jobs]

    # The later update finds staged files or nothing to do.
    assert 0 in codes
    assert set(codes) <= {0, 4}, [job.error for job in jobs]
    assert lab.at() == "0.2.0"
    assert lab.stages() == {}
    assert not lab.journal.exists()
    assert lab.read("numbers.txt") == NUMBERS.replace("line 40", "mine 40").replace("line 05", "theirs 5")
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""


def test_two_services_at_once(lab: Lab, driver: Driver) -> None:
    """Two services in one repository can be updated at the same time, but one update may have to wait."""
    copy(lab.path / "app", lab.path / "aside")
    for name in [name for name in lab.git("ls-files", "-z").split("\0") if name]:
        lab.write({f"second/{name}": lab.read_bytes(name)})
    lab.commit()
    lab.release(THEIRS)
    paths = [lab.path, lab.path / "second"]

    jobs = [driver.start("update", path, lab.origin) for path in paths]
    codes = [driver.wait(job) for job in jobs]

    assert set(codes) <= {0, 4}, [job.error for job in jobs]
    for path, code in zip(paths, codes, strict=True):
        if code:
            assert driver.run("update", path, lab.origin) == 0
        assert "theirs 5" in (path / "numbers.txt").read_text()
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""


@pytest.mark.ci
def test_forty_at_once(lab: Lab, driver: Driver) -> None:
    """Forty simultaneous updates of forty repositories succeed."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release(THEIRS)
    paths = [copy(lab.path, lab.path.parent / f"service-{number}") for number in range(40)]

    jobs = [driver.start("update", path, lab.origin) for path in paths]
    codes = [driver.wait(job) for job in jobs]

    assert codes == [0] * 40, [job.error for job in jobs if job.error]
    wanted = NUMBERS.replace("line 40", "mine 40").replace("line 05", "theirs 5")
    assert {(path / "numbers.txt").read_text() for path in paths} == {wanted}
    assert {git("ls-files", "--stage", cwd=path) for path in paths} == {git("ls-files", "--stage", cwd=paths[0])}


def test_preview_touches_nothing(lab: Lab) -> None:
    """A preview changes nothing, even with conflicts ahead."""
    conflicting(lab)
    lab.write({"run.sh": "#!/bin/sh\n# dirty\n"})
    before = lab.snapshot()

    preview = lab.preview()

    same(lab.snapshot(), before)
    assert not lab.journal.exists()
    assert kinds(preview) == kinds(lab.update())
    assert preview.conflicts == ("numbers.txt",)
