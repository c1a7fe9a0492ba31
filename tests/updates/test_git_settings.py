"""Git settings of the user that must have no effect."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from quickset.errors import QuicksetError
from tests.updates.harness import NUMBERS, ORDERS, SERVICE_PY, WINDOWS, Lab, Snapshot, copy, git, same

pytestmark = pytest.mark.ci

THEIRS = {
    "numbers.txt": NUMBERS.replace("line 05", "theirs 5"),
    "windows.txt": WINDOWS.replace("row 05", "theirs 5"),
    SERVICE_PY: None,
    "added/new.txt": "theirs\n",
}


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def through(lab: Lab) -> None:
    """Run an update, an aborted conflict, a finished conflict and an update on a branch."""
    mine = lab.commit({"blocks.yaml": "mine\n"})
    before = lab.snapshot()
    lab.release(THEIRS | {"blocks.yaml": "theirs\n"})

    lab.assert_conflict(lab.update(), "blocks.yaml")
    assert lab.read("numbers.txt") == NUMBERS.replace("line 05", "theirs 5")
    assert not lab.exists("app/orders/service.py")
    lab.abort()
    assert lab.snapshot() == before
    lab.update()
    lab.write({"blocks.yaml": "both\n"})
    lab.git("add", "--all")
    lab.resume()
    lab.git("commit", "--quiet", "--no-gpg-sign", "--no-verify", "--message", "Update")
    assert lab.at() == "0.2.0"
    assert lab.git("rev-parse", "HEAD~1").strip() == mine
    assert lab.git("status", "--porcelain") == ""
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "again 5")})
    assert lab.update(branch="updates").commit


def test_signing(lab: Lab, tmp_path: Path) -> None:
    """A failing program for signed commits stops no update."""
    program = script(tmp_path / "bin" / "gpg", "exit 1")
    settings = {"gpg.program": program, "commit.gpgsign": "true", "tag.gpgsign": "true", "user.signingkey": "none"}
    for name, value in settings.items():
        lab.git("config", "--global", name, str(value))
    head = lab.git("rev-parse", "HEAD")
    lab.git("commit", "--allow-empty", "--message", "Signed", check=False)
    assert lab.git("rev-parse", "HEAD") == head

    through(lab)


@pytest.mark.parametrize("where", ["repository", "global"])
def test_failing_hooks(lab: Lab, home: Path, where: str) -> None:
    """Failing hooks are not run."""
    hooks = lab.git_dir / "hooks" if where == "repository" else home / "hooks"
    names = ("pre-commit", "commit-msg", "post-checkout", "post-index-change", "reference-transaction", "post-commit")
    if where == "global":
        lab.git("config", "--global", "core.hooksPath", str(hooks))
    trace = hooks.parent / "trace"
    lab.commit({"blocks.yaml": "mine\n"})
    before = lab.snapshot()
    lab.release(THEIRS | {"blocks.yaml": "theirs\n"})
    for name in names:
        script(hooks / name, f"echo {name} >> '{trace}'\nexit 1")

    lab.update()
    lab.abort()
    assert not trace.exists()
    for name in names:
        (hooks / name).unlink()
    assert lab.snapshot() == before


@pytest.mark.parametrize("value", ["true", "input"])
def test_autocrlf(lab: Lab, value: str) -> None:
    """Files keep their line endings if git converts them, and no file becomes dirty."""
    git("config", "core.autocrlf", "false", cwd=lab.origin)
    lab.git("config", "--global", "core.autocrlf", value)
    lab.git("rm", "-r", "--quiet", "--cached", ".")
    lab.git("add", "--all")
    if lab.git("status", "--porcelain"):
        lab.git("commit", "--quiet", "--message", "Renormalize")
    for name in lab.git("ls-files", "-z").split("\0"):
        if name:
            (lab.path / name).unlink()
    lab.git("checkout", "--quiet", "--", ".")
    lab.replace("numbers.txt", ("line 40", "mine 40"))
    lab.git("commit", "--quiet", "--all", "--message", "Mine")
    assert lab.git("status", "--porcelain") == ""
    ends = b"\r\n" if value == "true" else b"\n"
    assert (ends in lab.read_bytes("numbers.txt")) is True
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5"), "added.txt": "theirs\n"})

    result = lab.update()

    assert result.conflicts == ()
    assert lab.stages() == {}
    assert lab.staged("numbers.txt").decode() == NUMBERS.replace("line 05", "theirs 5").replace("line 40", "mine 40")
    assert lab.read_bytes("numbers.txt") == lab.staged("numbers.txt").replace(b"\n", ends)
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""


def test_attributes(lab: Lab) -> None:
    """Updated files have the line endings that the repository's attributes require."""
    lab.commit({".gitattributes": "*.txt text eol=crlf\nwindows.txt -text\nlatin.txt -text\n"})
    lab.git("rm", "-r", "--quiet", "--cached", ".")
    lab.git("reset", "--quiet", "--hard")
    assert b"\r\n" in lab.read_bytes("numbers.txt")
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    result = lab.update()

    assert result.conflicts == ()
    assert lab.staged("numbers.txt").decode() == NUMBERS.replace("line 05", "theirs 5")
    assert lab.read_bytes("numbers.txt").decode() == NUMBERS.replace("line 05", "theirs 5").replace("\n", "\r\n")


def test_smudge_filter(lab: Lab) -> None:
    """A filter of the user, such as git-lfs, sees all files as with any git command, or none."""
    lab.git("config", "filter.shout.clean", "tr A-Z a-z")
    lab.git("config", "filter.shout.smudge", "tr a-z A-Z")
    lab.commit({".gitattributes": "numbers.txt filter=shout\n"})
    lab.git("rm", "--quiet", "--cached", "numbers.txt")
    lab.git("reset", "--quiet", "--hard")
    assert lab.read("numbers.txt") == NUMBERS.upper()
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    lab.assert_clean(lab.update())

    assert lab.staged("numbers.txt").decode() == NUMBERS.replace("line 05", "theirs 5")
    assert lab.read("numbers.txt") == NUMBERS.replace("line 05", "theirs 5").upper()
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""


def test_file_mode(lab: Lab) -> None:
    """If git ignores modes, modes on disk make no file dirty, and those in the index are kept."""
    lab.git("config", "core.fileMode", "false")
    (lab.path / "numbers.txt").chmod(0o755)
    (lab.path / "run.sh").chmod(0o644)
    assert lab.git("status", "--porcelain") == ""
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5"), "run.sh": "#!/bin/sh\n# theirs\n"})

    lab.assert_clean(lab.update())

    assert lab.git("ls-files", "-s", "numbers.txt").startswith("100644")
    assert lab.git("ls-files", "-s", "run.sh").startswith("100755")
    assert lab.read("run.sh") == "#!/bin/sh\n# theirs\n"


HABITS = {
    "diff": {
        "status.showUntrackedFiles": "no",
        "diff.noprefix": "true",
        "diff.renames": "false",
        "core.quotePath": "true",
        "color.ui": "always",
        "core.pager": "false",
    },
    "merge": {
        "merge.renames": "false",
        "merge.renameLimit": "1",
        "merge.conflictStyle": "zdiff3",
        "merge.ff": "only",
        "diff.mnemonicPrefix": "true",
        "core.editor": "false",
    },
    "names": {
        "core.precomposeUnicode": "true",
        "core.ignoreCase": "true",
        "init.defaultBranch": "ödd/branch-name",
        "core.abbrev": "40",
        "core.logAllRefUpdates": "false",
        "user.useConfigOnly": "true",
    },
    "index": {
        "core.untrackedCache": "true",
        "core.splitIndex": "true",
        "core.preloadIndex": "false",
        "core.trustctime": "false",
        "core.checkStat": "minimal",
    },
    "size": {"index.version": "4", "index.sparse": "true", "feature.manyFiles": "true", "gc.auto": "1"},
    "rest": {
        "core.safecrlf": "true",
        "feature.experimental": "true",
        "log.showSignature": "true",
        "fetch.prune": "true",
        "core.sharedRepository": "group",
        "extensions.worktreeConfig": "true",
    },
}


@pytest.mark.parametrize("habits", HABITS.values(), ids=HABITS.keys())
def test_habits(lab: Lab, habits: Mapping[str, str]) -> None:
    """Personal settings have no effect."""
    lab.commit({"blocks.yaml": "mine\n", "app/orders/service.py": ORDERS + "# mine\n"})
    lab.release(THEIRS | {"blocks.yaml": "theirs\n", "{{ package_name }}/orders/sums.py": ORDERS})
    before = lab.snapshot()
    for name, value in habits.items():
        local = name.startswith(("core", "index", "extensions"))
        lab.git("config", "--local" if local else "--global", name, value)
    lab.git("update-index", "--refresh", "--force-write-index")

    result = lab.update()

    lab.assert_conflict(result, "blocks.yaml")
    assert "mine\n" in lab.read("blocks.yaml")
    assert "theirs\n" in lab.read("blocks.yaml")
    assert lab.read("app/orders/sums.py") == ORDERS + "# mine\n"
    lab.abort()
    same(lab.snapshot(), before)


def test_external_diff(lab: Lab, tmp_path: Path) -> None:
    """No diff program, text conversion or merge driver of the user is run."""
    trace = tmp_path / "trace"
    program = script(tmp_path / "bin" / "tool", f"echo ran >> '{trace}'; exit 1")
    for name in ("diff.external", "diff.own.textconv", "diff.own.command", "merge.own.driver", "merge.tool"):
        lab.git("config", name, str(program))
    lab.commit({".gitattributes": "*.txt diff=own merge=own\n", "numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    assert "theirs 5" in (lab.preview().patch or "")
    lab.assert_clean(lab.update())

    assert not trace.exists()
    assert lab.read("numbers.txt") == NUMBERS.replace("line 05", "theirs 5").replace("line 40", "mine 40")


def test_fsmonitor(lab: Lab, tmp_path: Path) -> None:
    """A file system monitor that reports no changes does not hide an edit."""
    script(tmp_path / "monitor", "printf 'token\\0'")
    lab.git("config", "core.fsmonitor", str(tmp_path / "monitor"))
    lab.git("update-index", "--fsmonitor")
    lab.git("status")
    lab.write({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    with pytest.raises(QuicksetError) as error:
        lab.update()

    assert error.value.exit_code == 4
    assert "mine 40" in lab.read("numbers.txt")


def test_no_identity(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name and an email address the merge works, and a branch is created or refused with the reason."""
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})
    for role in ("AUTHOR", "COMMITTER"):
        for part in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{part}")
    lab.git("config", "user.useConfigOnly", "true")
    before = lab.snapshot()

    try:
        result = lab.update(branch="updates")
    except QuicksetError as error:
        assert "user.name" in str(error)  # noqa: PT017 -- either is right
        assert lab.git("branch", "--list", "updates") == ""
    else:
        assert result.commit
    assert lab.snapshot() == before

    lab.assert_clean(lab.update())


def test_unsafe_directory(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that git does not trust is refused with git's reason and stays unchanged."""
    before = lab.snapshot()
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")

    with pytest.raises(QuicksetError, match=r"dubious ownership|safe\.directory"):
        lab.update()

    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert lab.snapshot() == before


def test_environment_of_a_hook(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that git exports to a hook of another repository have no effect."""
    other = copy(lab.path, tmp_path / "other")
    before = Snapshot.of(other)
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(other / ".git"))
        patch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
        patch.setenv("GIT_WORK_TREE", str(other))

        result = lab.update()

    lab.assert_clean(result)
    assert "theirs 5" in lab.read("numbers.txt")
    same(Snapshot.of(other), before)
    assert not (tmp_path / "index").exists()


def test_narrow_umask(lab: Lab) -> None:
    """New files have the modes of the user's umask."""
    lab.release({"added.txt": "theirs\n", "added.sh": "#!/bin/sh\n"})
    (lab.origin / "template" / "added.sh").chmod(0o755)
    lab.release()
    before = os.umask(0o077)
    try:
        lab.assert_clean(lab.update())
    finally:
        os.umask(before)

    assert stat.S_IMODE((lab.path / "added.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((lab.path / "added.sh").stat().st_mode) == 0o700
