"""An update that is committed on its own branch."""

import pytest

from quickset.errors import QuicksetError
from tests.updates.harness import NUMBERS, ORDERS, SERVICE_PY, Lab, kinds, same

THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5"), SERVICE_PY: None, "added.txt": "new\n"}


def at(lab: Lab, branch: str, name: str) -> str:
    """Read a file from a branch."""
    return lab.git("show", f"{branch}:{name}")


def test_branch(lab: Lab) -> None:
    """The update is one commit on a new branch from HEAD.

    The work tree, the index and the current branch stay unchanged.
    """
    head = lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update(branch="updates/0.2.0")

    same(lab.snapshot(), before)
    assert not lab.journal.exists()
    assert result.branch == "updates/0.2.0"
    assert result.commit == lab.git("rev-parse", "updates/0.2.0").strip()
    assert lab.git("rev-parse", "updates/0.2.0~1").strip() == head
    assert at(lab, "updates/0.2.0", "numbers.txt") == NUMBERS.replace("line 40", "mine 40").replace(
        "line 05", "theirs 5"
    )
    assert "_commit: v0.2.0" in at(lab, "updates/0.2.0", ".copier-answers.yml")
    assert lab.git("diff", "--name-only", "HEAD", "updates/0.2.0").split() == [
        ".copier-answers.yml",
        "added.txt",
        "app/orders/service.py",
        "numbers.txt",
    ]
    assert kinds(result)["numbers.txt"] == "merged"


def test_branch_is_what_update_does(lab: Lab) -> None:
    """The branch has the same tree as an update of the work tree."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40"), "app/orders/service.py": ORDERS + "# mine\n"})
    (lab.origin / "template" / "added.sh").write_text("#!/bin/sh\n")
    (lab.origin / "template" / "added.sh").chmod(0o755)
    lab.release(THEIRS)

    lab.update(branch="updates")
    lab.update()

    assert lab.git("write-tree") == lab.git("rev-parse", "updates^{tree}")


def test_branch_of_a_dirty_work_tree(lab: Lab) -> None:
    """Uncommitted edits, even of the same files, stay in the work tree and are not on the branch."""
    lab.write({"numbers.txt": NUMBERS.replace("line 05", "dirty 5"), "added.txt": "untracked\n", "run.sh": "staged\n"})
    lab.git("add", "run.sh")
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update(branch="updates")

    same(lab.snapshot(), before)
    assert result.commit
    assert at(lab, "updates", "numbers.txt") == NUMBERS.replace("line 05", "theirs 5")
    assert at(lab, "updates", "run.sh") == lab.git("show", "HEAD:run.sh")


def test_branch_is_refreshed(lab: Lab) -> None:
    """A branch of an earlier update is created again from HEAD with the newer release."""
    lab.release(THEIRS)
    first = lab.update(branch="updates").commit
    head = lab.commit({"mine.txt": "mine\n"})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "again 5")})

    second = lab.update(branch="updates")

    assert second.commit != first
    assert lab.git("rev-parse", "updates~1").strip() == head
    assert "again 5" in at(lab, "updates", "numbers.txt")
    assert at(lab, "updates", "mine.txt") == "mine\n"


def test_branch_with_a_users_commits(lab: Lab) -> None:
    """Commits that a user added to the branch are not lost."""
    lab.release(THEIRS)
    lab.update(branch="updates")
    lab.git("switch", "--quiet", "updates")
    mine = lab.commit({"mine.txt": "mine\n"})
    lab.git("switch", "--quiet", "-")
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "again 5")})
    before = lab.snapshot()

    try:
        lab.update(branch="updates")
    except QuicksetError as error:
        assert error.exit_code == 4  # noqa: PT017 -- refused, or built upon

    assert lab.git("branch", "--contains", mine, "--list", "updates").strip() == "updates"
    same(lab.snapshot(), before)


def test_branch_that_is_checked_out(lab: Lab) -> None:
    """The checked-out branch is refused."""
    branch = lab.git("symbolic-ref", "--short", "HEAD").strip()
    before = lab.snapshot()
    lab.release(THEIRS)

    with pytest.raises(QuicksetError) as error:
        lab.update(branch=branch)

    assert error.value.exit_code in {2, 4}
    same(lab.snapshot(), before)


@pytest.mark.parametrize("name", ["-x", "a..b", "a b", ".lock", "HEAD", "refs/heads/~"])
def test_impossible_name(lab: Lab, name: str) -> None:
    """A name that git rejects is a usage error, and nothing is created."""
    before, branches = lab.snapshot(), lab.git("for-each-ref")
    lab.release(THEIRS)

    with pytest.raises(QuicksetError):
        lab.update(branch=name)

    same(lab.snapshot(), before)
    assert lab.git("for-each-ref") == branches


def test_branch_with_conflicts(lab: Lab) -> None:
    """With a conflict no branch is created, and the result names the files."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update(branch="updates")

    assert result.conflicts == ("numbers.txt",)
    assert (result.branch, result.commit) == (None, None)
    assert lab.git("branch", "--list", "updates") == ""
    same(lab.snapshot(), before)
    assert not lab.journal.exists()


def test_branch_with_conflicts_keeps_an_older_one(lab: Lab) -> None:
    """With a conflict an existing branch stays unchanged."""
    lab.release(THEIRS)
    first = lab.update(branch="updates").commit
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "again 5")})

    assert lab.update(branch="updates").conflicts == ("numbers.txt",)

    assert lab.git("rev-parse", "updates").strip() == first


def test_branch_when_current(lab: Lab) -> None:
    """No branch is created if there is nothing to update."""
    result = lab.update(branch="updates")

    assert result.commit is None
    assert lab.git("branch", "--list", "updates") == ""


def test_branch_merges(lab: Lab) -> None:
    """After a merge of the branch the service is at the new version."""
    lab.release(THEIRS)
    lab.update(branch="updates")

    lab.git("merge", "--quiet", "updates")

    assert lab.at() == "0.2.0"
    assert lab.git("status", "--porcelain") == ""
    assert kinds(lab.update()) == {}
