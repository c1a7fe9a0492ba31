"""The journal of an update with conflicts, and the commands that read it."""

import errno
import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from quickset import errors
from quickset.commands.check import Status, check
from quickset.errors import ConflictError, QuicksetError, RefusedError, os_reason, why_full
from quickset.report.updated import show_result
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.updating import worktree
from tests.updates.harness import NUMBERS, ORDERS, ROUTER, ROUTER_PY, SERVICE_PY, Lab, Snapshot, git, kinds, same

pytestmark = pytest.mark.ci

MINE = NUMBERS.replace("line 05", "mine 5")
THEIRS = NUMBERS.replace("line 05", "theirs 5")


def conflict(lab: Lab, *, only: bool = False) -> None:
    """Bring a service to a conflict in one file. Without `only`, another file changes without a conflict."""
    lab.commit({"numbers.txt": MINE})
    lab.release({"numbers.txt": THEIRS, **({} if only else {"blocks.yaml": "theirs\n"})})
    lab.assert_conflict(lab.update(), "numbers.txt")


def resolve(lab: Lab, name: str, side: str) -> None:
    """Resolve a conflict with one of its sides, as git does."""
    lab.git("checkout", "--quiet", f"--{side}", name)
    lab.git("add", name)


# --- The answers file ------------------------------------------------------------------------------------------------


def answers_in_conflict(lab: Lab, files: dict[str, str]) -> Snapshot:
    """Bring a service to a conflict in its answers file, whose layout cannot be merged by lines.

    Returns:
        The service before the update.
    """
    lab.commit({ANSWERS_FILE: json.dumps(lab.recorded()) + "\n", **files})
    before = lab.snapshot()
    lab.release({"numbers.txt": THEIRS})
    assert lab.update().conflicts == (ANSWERS_FILE, *files)
    assert lab.stages().keys() == {ANSWERS_FILE, *files}
    return before


@pytest.mark.parametrize("second", [{}, {"numbers.txt": MINE}], ids=["only", "with another"])
def test_conflict_in_the_answers(lab: Lab, second: dict[str, str]) -> None:
    """A conflict in the answers file has stages, and `--continue` is refused until it is resolved."""
    answers_in_conflict(lab, second)
    for action in (lab.resume, lab.update, lab.preview):
        with pytest.raises(ConflictError, match=ANSWERS_FILE):
            action()
    resolve(lab, ANSWERS_FILE, "theirs")
    for name in second:
        resolve(lab, name, "theirs")

    lab.resume()

    assert lab.at() == "0.2.0"
    assert lab.read("numbers.txt") == THEIRS
    assert lab.staged(ANSWERS_FILE) == lab.read_bytes(ANSWERS_FILE)
    assert not lab.journal.exists()


def test_own_side_of_the_answers(lab: Lab) -> None:
    """If the user keeps their own answers, `--continue` reports the missing version and accepts it by hand."""
    answers_in_conflict(lab, {})
    resolve(lab, ANSWERS_FILE, "ours")

    with pytest.raises(RefusedError, match=r"_commit: v?0\.2\.0"):
        lab.resume()

    lab.write({ANSWERS_FILE: lab.read(ANSWERS_FILE).replace("0.1.0", "0.2.0")})
    lab.git("add", "--all")
    lab.resume()
    assert lab.at() == "0.2.0"
    assert lab.read(ANSWERS_FILE).startswith("{")


def test_abort_with_the_answers_in_conflict(lab: Lab) -> None:
    """An abort also removes markers from the answers file."""
    before = answers_in_conflict(lab, {})

    lab.abort()

    same(lab.snapshot(), before)


# --- Resolutions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [True, False])
def test_nothing_of_a_conflict_is_wanted(lab: Lab, *, only: bool) -> None:
    """The user's side is a valid resolution: the version advances, and the next update has no conflict."""
    conflict(lab, only=only)
    resolve(lab, "numbers.txt", "ours")

    lab.resume()

    assert lab.at() == "0.2.0"
    lab.commit()
    lab.release({"numbers.txt": THEIRS.replace("line 50", "theirs 50")})
    lab.assert_clean(lab.update())
    assert lab.read("numbers.txt") == MINE.replace("line 50", "theirs 50")


def test_nothing_is_wanted_and_something_is_committed(lab: Lab) -> None:
    """The user's side is a valid resolution after an unrelated commit."""
    conflict(lab, only=True)
    resolve(lab, "numbers.txt", "ours")
    lab.commit({"mine.txt": "mine\n"})

    lab.resume()

    assert lab.at() == "0.2.0"


@pytest.mark.parametrize("only", [True, False])
def test_reset_of_everything(lab: Lab, *, only: bool) -> None:
    """After `git reset --hard` there is nothing to continue, whatever was committed since."""
    conflict(lab, only=only)
    resolve(lab, "numbers.txt", "ours")
    lab.git("reset", "--quiet", "--hard")
    lab.commit({"mine.txt": "mine\n"} if only else {"numbers.txt": "mine\n"})

    with pytest.raises(RefusedError, match="nothing of the update is left"):
        lab.resume()

    assert lab.at() == "0.1.0"
    lab.assert_conflict(lab.update(), "numbers.txt")


@pytest.mark.parametrize(
    "mine",
    [{"numbers.txt": "mine\n"}, {"numbers.txt": "mine\n", "blocks.yaml": "theirs\n"}],
    ids=["the conflict", "a change of the update"],
)
@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize("command", [["reset", "--hard"], ["checkout", "--force", "-b", "other"]], ids=" ".join)
def test_edits_after_a_reset(lab: Lab, command: list[str], mine: dict[str, str], *, only: bool) -> None:
    """An update that was reset is not continued when the user edits its files, and its change is not lost."""
    conflict(lab, only=only)
    if not only and len(mine) > 1:
        lab.abort()
        lab.release({"latin.txt": "theirs\n"})
        lab.update()
    lab.git(*command, "--quiet")
    assert check([lab.path], template_source=lab.source)[0].status == Status.BEHIND
    lab.commit(mine)

    assert check([lab.path], template_source=lab.source)[0].status == Status.BEHIND
    lab.assert_conflict(lab.update(), "numbers.txt")


def test_update_of_somebody_else_after_a_reset(lab: Lab) -> None:
    """An update that was reset is forgotten when a merge brings the same update."""
    conflict(lab)
    lab.git("reset", "--quiet", "--hard")
    lab.git("switch", "--quiet", "--create", "theirs")
    answers = lab.read(ANSWERS_FILE).replace("0.1.0", "0.2.0")
    lab.commit({"numbers.txt": "both\n", "blocks.yaml": "theirs\n", ANSWERS_FILE: answers})
    lab.git("switch", "--quiet", "main")
    lab.git("merge", "--quiet", "theirs")

    assert check([lab.path], template_source=lab.source)[0].status == Status.CURRENT
    assert "Nothing to do" in lab.update().notes[0]
    assert not lab.journal.exists()


@pytest.mark.parametrize("command", [["checkout", "HEAD", "--", "."], ["restore", "-SW", "."]], ids=" ".join)
def test_edits_after_a_checkout_of_all_files(lab: Lab, command: list[str]) -> None:
    """An update is forgotten if all files were checked out from HEAD, which leaves the stages in the index."""
    conflict(lab)
    lab.git(*command)
    assert lab.git("ls-files", "--resolve-undo")
    lab.commit({"numbers.txt": "mine\n"})

    lab.assert_conflict(lab.update(), "numbers.txt")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MINE + "mine 61\n", "yours"),
        (MINE.replace("mine 5", "mine and theirs 5"), "merged"),
        (MINE.replace("mine 5\n", ""), "yours"),
    ],
)
def test_own_text_as_a_resolution(lab: Lab, text: str, kind: str) -> None:
    """A resolution without any of the template's change is not reported as merged."""
    conflict(lab, only=True)
    lab.commit({"numbers.txt": text})

    [change] = [change for change in lab.resume().changes if change.path == "numbers.txt"]

    assert change.kind == kind
    assert change.note == ("nothing of the template's change is in it" if kind == "yours" else "")


def test_resolved_committed_and_away(lab: Lab) -> None:
    """A committed resolution can be continued after a checkout of another branch."""
    conflict(lab)
    resolve(lab, "numbers.txt", "theirs")
    lab.commit()
    lab.git("checkout", "--quiet", "-b", "other")
    lab.git("checkout", "--quiet", "main")
    assert lab.git("ls-files", "--resolve-undo") == ""

    lab.resume()

    assert lab.at() == "0.2.0"


def test_reset_of_the_index(lab: Lab) -> None:
    """After `git reset` neither markers nor unstaged changes count as the user's decision."""
    conflict(lab)
    lab.git("reset", "--quiet")
    before = lab.snapshot()
    with pytest.raises(ConflictError, match=r"markers are left in numbers\.txt"):
        lab.resume()
    same(lab.snapshot(), before)
    lab.write({"numbers.txt": THEIRS})
    lab.git("add", "numbers.txt")

    with pytest.raises(ConflictError, match=r"no longer staged: blocks\.yaml"):
        lab.resume()

    assert lab.at() == "0.1.0"
    lab.git("add", "blocks.yaml")
    lab.resume()
    assert lab.at() == "0.2.0"


def test_change_that_is_not_wanted(lab: Lab) -> None:
    """A change that the user restored counts as a decision, is reported as one and does not block `--continue`."""
    lab.commit({"numbers.txt": MINE})
    lab.release({"numbers.txt": THEIRS, "blocks.yaml": "theirs\n", "latin.txt": None, "new.txt": "theirs\n"})
    lab.assert_conflict(lab.update(), "numbers.txt")
    resolve(lab, "numbers.txt", "theirs")
    lab.git("restore", "--source", "HEAD", "--staged", "--worktree", "blocks.yaml", "latin.txt", "new.txt")

    result = lab.resume()

    for change in result.changes:
        if change.path in ("blocks.yaml", "latin.txt", "new.txt"):
            assert (change.kind, change.note) == ("yours", "you took the change back")
    assert kinds(result) == {
        "blocks.yaml": "yours",
        "latin.txt": "yours",
        "new.txt": "yours",
        "numbers.txt": "changed",
    }
    assert lab.at() == "0.2.0"
    assert lab.read("blocks.yaml") != "theirs\n"


@pytest.mark.parametrize(
    ("style", "kept"), [("merge", "=>"), ("merge", "="), ("diff3", "<|=>"), ("diff3", "|"), ("zdiff3", "<=")]
)
def test_markers_left(lab: Lab, style: str, kept: str) -> None:
    """Markers of every style are found, even if git wrote the conflict again."""
    conflict(lab, only=True)
    lab.git("checkout", f"--conflict={style}", "numbers.txt")
    lines = lab.read("numbers.txt").splitlines(keepends=True)
    signs = tuple(7 * sign for sign in "<|=>" if sign not in kept)
    lab.write({"numbers.txt": "".join(line for line in lines if not signs or not line.startswith(signs))})
    lab.git("add", "numbers.txt")

    with pytest.raises(ConflictError, match=r"markers are left in numbers\.txt"):
        lab.resume()

    assert lab.at() == "0.1.0"


def test_lines_that_look_like_markers(lab: Lab) -> None:
    """A heading that is underlined with seven equals signs is not a marker if one side contains it."""
    heading = "Changes\n=======\n\n"
    lab.commit({"numbers.txt": heading + MINE})
    lab.release({"numbers.txt": heading + THEIRS})
    lab.assert_conflict(lab.update(), "numbers.txt")
    lab.write({"numbers.txt": heading + heading + MINE})
    lab.git("add", "numbers.txt")

    lab.resume()

    assert lab.at() == "0.2.0"


def test_journal_of_an_older_version(lab: Lab) -> None:
    """A conflict from quickset 0.3.3 can be continued, with answers that were edited since."""
    conflict(lab)
    journal = json.loads(lab.journal.read_text())
    for step in journal["steps"].values():
        del step["flags"], step["alike"]
    del journal["facts"]["answers_file"]
    journal["facts"]["answers_text"] = journal["facts"].pop("answers_texts")[1]
    lab.journal.write_text(json.dumps(journal))
    resolve(lab, "numbers.txt", "theirs")
    lab.commit({ANSWERS_FILE: lab.read(ANSWERS_FILE) + "# mine\n"})

    lab.resume()

    assert lab.at() == "0.2.0"
    assert lab.read(ANSWERS_FILE).endswith("# mine\n")


# --- Flags of the index ----------------------------------------------------------------------------------------------


def test_conflict_outside_a_sparse_checkout(lab: Lab) -> None:
    """A conflict in a file outside the sparse checkout is undone together with the flag."""
    lab.commit({"app/orders/service.py": ORDERS + "# mine\n"})
    lab.git("sparse-checkout", "set", "app/core")
    before = lab.snapshot()
    lab.release(
        {
            SERVICE_PY: ORDERS + "# theirs\n",
            ROUTER_PY: ROUTER + "# theirs\n",
            "{{ package_name }}/orders/__init__.py": None,
            "numbers.txt": THEIRS,
        }
    )
    lab.assert_conflict(lab.update(), "app/orders/service.py")
    assert not lab.exists("app/orders/router.py")

    lab.abort()

    same(lab.snapshot(), before)
    assert lab.git("status", "--porcelain") == ""


def test_command_outside_a_sparse_checkout(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command adds a resolved file that the sparse checkout excludes."""
    monkeypatch.chdir(lab.path)
    lab.commit({"app/orders/service.py": ORDERS + "# mine\n", "numbers.txt": MINE})
    lab.git("sparse-checkout", "set", "app/core")
    lab.release({SERVICE_PY: ORDERS + "# theirs\n", "numbers.txt": THEIRS})
    shown = io.StringIO()
    show_result(lab.update(), would=False, out=Console(file=shown, width=200))
    lab.write({"app/orders/service.py": ORDERS, "numbers.txt": NUMBERS})

    [command] = re.findall("git add .*", shown.getvalue())
    lab.git(*shlex.split(command, comments=True)[1:])

    lab.resume()
    assert lab.at() == "0.2.0"


def flags(lab: Lab) -> str:
    """Return the flags of each path that has any."""
    return "".join(line for line in lab.git("ls-files", "-v").splitlines(keepends=True) if not line.startswith("H "))


@pytest.mark.parametrize("flag", ["skip-worktree", "assume-unchanged"])
def test_flags_set_by_hand(lab: Lab, flag: str) -> None:
    """A flag survives an update, its abort, and the resolution of a conflict in its file."""
    lab.commit({"numbers.txt": MINE})
    lab.git("update-index", f"--{flag}", "numbers.txt", "blocks.yaml")
    before, flagged = lab.snapshot(), flags(lab)
    lab.release({"numbers.txt": THEIRS, "blocks.yaml": "theirs\n"})
    lab.assert_conflict(lab.update(), "numbers.txt")
    assert lab.read("blocks.yaml") == "theirs\n"

    lab.abort()

    same(lab.snapshot(), before)
    assert flags(lab) == flagged
    lab.update()
    resolve(lab, "numbers.txt", "theirs")
    lab.resume()
    assert flags(lab) == flagged
    assert lab.staged("numbers.txt") == lab.read_bytes("numbers.txt") == THEIRS.encode()


def test_edit_after_a_resolution(lab: Lab) -> None:
    """Restoring a flag does not change the user's edits after a staged resolution."""
    lab.commit({"numbers.txt": MINE})
    lab.git("update-index", "--assume-unchanged", "numbers.txt")
    lab.release({"numbers.txt": THEIRS})
    lab.update()
    resolve(lab, "numbers.txt", "theirs")
    lab.write({"numbers.txt": THEIRS + "mine\n"})

    lab.resume()

    assert lab.read("numbers.txt") == THEIRS + "mine\n"
    assert lab.staged("numbers.txt").decode() == THEIRS


# --- File systems and the lock of the index --------------------------------------------------------------------------


def test_no_hard_links(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links an update, its abort and its end work."""

    def link(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    lab.commit({"numbers.txt": MINE})
    before = lab.snapshot()
    lab.release({"numbers.txt": THEIRS, SERVICE_PY: None, "added.txt": "new\n"})
    lab.assert_conflict(lab.update(), "numbers.txt")

    lab.abort()

    same(lab.snapshot(), before)
    lab.update()
    resolve(lab, "numbers.txt", "theirs")
    lab.resume()
    assert lab.at() == "0.2.0"
    assert not (lab.git_dir / "index.lock").exists()


@pytest.mark.parametrize("command", ["abort", "resume"])
def test_index_is_locked_later(lab: Lab, command: str) -> None:
    """Neither command writes while another git process holds the index lock. Each works afterwards."""
    conflict(lab)
    if command == "resume":
        resolve(lab, "numbers.txt", "theirs")
    lock = lab.git_dir / "index.lock"
    lock.write_text("")
    before = lab.snapshot()
    action = {"abort": lab.abort, "resume": lab.resume}[command]

    with pytest.raises(RefusedError, match=r"index\.lock"):
        action()

    same(lab.snapshot(), before)
    assert lock.exists()
    lock.unlink()
    action()
    assert not lock.exists()


def test_late_refusal_leaves_nothing(lab: Lab) -> None:
    """A refusal after new files were prepared removes them and releases the index lock."""
    lab.git("update-index", "--assume-unchanged", "numbers.txt")
    lab.write({"numbers.txt": MINE})
    lab.release({"numbers.txt": THEIRS})

    with pytest.raises(RefusedError, match=r"`git status` hides numbers\.txt"):
        lab.update()

    assert [path.name for path in (lab.git_dir / "quickset").iterdir()] == ["lock"]
    assert not (lab.git_dir / "index.lock").exists()


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")]
)
def test_full_disk_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    """If the journal cannot be written, the update does not start, and the error names the file."""
    lab.release({"numbers.txt": THEIRS})
    before = lab.snapshot()

    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=os.strerror(number)) as error:
            lab.update()

    assert os_reason(error.value) == f"{reason}: {lab.git_dir / 'quickset' / 'journal.json.new'}"
    same(lab.snapshot(), before)
    assert [path.name for path in (lab.git_dir / "quickset").iterdir()] == ["lock"]
    lab.assert_clean(lab.update())


# A replacement for git on a full disk: one of its commands writes a part and fails.
FULL = """\
#!/bin/sh
if [ "$1" = "%(command)s" ]; then
    objects=${GIT_OBJECT_DIRECTORY:-$(%(git)s rev-parse --absolute-git-dir)/objects}
    test "$1" = checkout-index || : >"$objects/tmp_obj_part"
    echo "error: unable to write file%(reason)s" >&2
    exit 1
fi
exec %(git)s "$@"
"""


@pytest.mark.parametrize(
    ("command", "reason", "place"),
    [("unpack-objects", ": No space left on device", "objects"), ("checkout-index", "", "quickset/files")],
)
def test_full_disk_in_git(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, reason: str, place: str
) -> None:
    """If git cannot write, the error names the full disk, and git's temporary files are removed."""
    lab.release({"numbers.txt": THEIRS})
    before = lab.snapshot()
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(FULL % {"command": command, "reason": reason, "git": shutil.which("git")})
    program.chmod(0o755)

    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(worktree, "why_full", lambda folder: f"the disk is full: {folder}")
        with pytest.raises(QuicksetError, match=f"^the disk is full: {lab.git_dir / place}$"):
            lab.update()

    same(lab.snapshot(), before)
    assert [path.name for path in (lab.git_dir / "quickset").iterdir()] == ["lock"]
    assert not list((lab.git_dir / "objects").glob("tmp_*"))
    lab.assert_clean(lab.update())


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without space for a file is on a full disk. A missing folder is not."""
    assert why_full(tmp_path) is None
    assert why_full(tmp_path / "missing") is None

    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(errors, "TemporaryFile", lambda dir: Full())  # noqa: A006, ARG005 -- as TemporaryFile has it
    assert why_full(tmp_path) == f"the disk is full: {tmp_path}"


@pytest.mark.parametrize("room_for", [0, 1, 2])
@pytest.mark.parametrize("finish", [True, False])
def test_full_disk_half_way(lab: Lab, monkeypatch: pytest.MonkeyPatch, room_for: int, *, finish: bool) -> None:
    """If the disk fills up during an update, no partial file remains, and the error names a solution that works."""
    copy2, left = shutil.copy2, [None] * room_for
    lab.release({"numbers.txt": THEIRS, "added.txt": "added\n"})
    before = lab.snapshot()

    def copy(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        if left:
            left.pop()
            copy2(source, target, follow_symlinks=follow_symlinks)
            return
        target.write_text("a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "source", None, str(target))

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        patch.setattr(shutil, "copy2", copy)
        with pytest.raises(QuicksetError, match=r"^the disk is full: .*/\.quickset-\w+\. ") as error:
            lab.update()

    assert not list(lab.path.rglob(".quickset-*"))
    if not room_for:
        assert str(error.value).endswith("Nothing was touched.")
        same(lab.snapshot(), before)
        assert [path.name for path in (lab.git_dir / "quickset").iterdir()] == ["lock"]
    elif finish:
        lab.assert_clean(lab.resume())
    else:
        lab.abort()
        same(lab.snapshot(), before)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("checkout", "--ours"), "yours"),
        (("checkout", "--theirs"), "changed"),
        (("rm", "--quiet", "--force"), "removed"),
    ],
)
def test_resolution_is_reported(lab: Lab, command: tuple[str, ...], kind: str) -> None:
    """`--continue` reports the chosen side of each conflict, and "merged" only if the result has both."""
    lab.commit({"numbers.txt": MINE, "mine.txt": "mine\n"})
    lab.release({"numbers.txt": THEIRS, "run.sh": "#!/bin/sh\n# new\n"})
    assert "numbers.txt" in lab.update().conflicts
    lab.git(*command, "numbers.txt")
    lab.git("add", "--all")

    assert kinds(lab.resume())["numbers.txt"] == kind


@pytest.mark.parametrize(
    "flags",
    [["assume-unchanged"], ["skip-worktree"], ["assume-unchanged", "skip-worktree"]],
    ids=["assume-unchanged", "skip-worktree", "both"],
)
def test_hidden_edits(lab: Lab, flags: list[str]) -> None:
    """A refusal for edits that `git status` hides names one working command for each flag of the file."""
    for flag in flags:
        lab.git("update-index", f"--{flag}", "numbers.txt")
    lab.write({"numbers.txt": MINE})
    lab.release({"numbers.txt": THEIRS, "blocks.yaml": "theirs\n"})
    with pytest.raises(RefusedError) as refused:
        lab.update()

    commands = [shlex.split(command) for command in re.findall(r"`(git -C [^`]*)`", str(refused.value))]
    for command in commands:
        git(*command[1:], cwd=lab.path.parent)

    assert sorted(command[-3] for command in commands) == [f"--no-{flag}" for flag in flags]
    assert lab.git("status", "--porcelain") == " M numbers.txt\n"
