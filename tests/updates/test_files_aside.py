"""Files that an update must not change, and files that block an update."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from quickset.errors import RefusedError
from quickset.report.console import to_json
from quickset.updating.summary import as_markdown
from tests.updates.harness import NUMBERS, ORDERS, SERVICE_PY, Lab, kinds

THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")}


def refused(lab: Lab, *names: str) -> None:
    """Require that an update is refused, names the files and changes nothing."""
    before = lab.snapshot()
    with pytest.raises(RefusedError) as error:
        lab.update()
    for name in names:
        assert name in str(error.value)
    assert lab.snapshot() == before
    assert not lab.journal.exists()


def test_unrelated_files_stay(lab: Lab) -> None:
    """Dirty, staged, partly staged, deleted, untracked and ignored files elsewhere stay unchanged."""
    lab.write({"run.sh": "#!/bin/sh\n# dirty\n", "blocks.yaml": "staged\n", "unended.txt": "staged"})
    lab.write({"mine/new.py": "NEW = 1\n"})
    lab.git("add", "blocks.yaml", "unended.txt", "mine/new.py")
    lab.write({"unended.txt": "staged, then dirty", "mine/untracked.py": "x\n", "debug.log": "ignored\n"})
    lab.write({".venv/bin/python": "ignored\n", "windows.txt": None})
    lab.git("rm", "--quiet", "--cached", "latin.txt")
    (lab.path / ".env").chmod(0o600)
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update()

    lab.assert_clean(result)
    after = lab.snapshot()
    changed = {"numbers.txt", ".copier-answers.yml"}
    assert {name for name in before.files | after.files if before.files.get(name) != after.files.get(name)} == changed
    entries = before.index | after.index
    assert {name for name in entries if before.index.get(name) != after.index.get(name)} == {
        f"{name} 0" for name in changed
    }


def test_unrelated_files_stay_in_a_conflict(lab: Lab) -> None:
    """These files also stay unchanged during a conflict and after its end."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.write({"run.sh": "#!/bin/sh\n# dirty\n", "blocks.yaml": "staged\n", "untracked.py": "x\n"})
    lab.git("add", "blocks.yaml")
    before = lab.snapshot()
    lab.release(THEIRS)
    lab.update()
    lab.write({"numbers.txt": NUMBERS.replace("line 05", "both 5")})
    lab.git("add", "numbers.txt")

    lab.resume()

    after = lab.snapshot()
    changed = {"numbers.txt", ".copier-answers.yml"}
    assert {name for name in before.files | after.files if before.files.get(name) != after.files.get(name)} == changed
    assert lab.git("show", ":blocks.yaml") == "staged\n"


@pytest.mark.parametrize("staged", [False, True], ids=["dirty", "staged"])
def test_colliding_edit(lab: Lab, *, staged: bool) -> None:
    """An uncommitted edit of a file that the update changes is refused, and nothing changes."""
    lab.write({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    if staged:
        lab.git("add", "numbers.txt")
    lab.release(THEIRS)

    refused(lab, "numbers.txt")


def test_colliding_deletion(lab: Lab) -> None:
    """An uncommitted deletion of a file that the update changes is not undone."""
    lab.write({"numbers.txt": None})
    before = lab.snapshot()
    lab.release(THEIRS)

    try:
        lab.update()
    except RefusedError:
        assert lab.snapshot() == before
    assert not lab.exists("numbers.txt")


def test_colliding_removal(lab: Lab) -> None:
    """An uncommitted edit of a file that the update would remove is refused."""
    lab.write({"app/orders/service.py": ORDERS + "# mine\n"})
    lab.release({SERVICE_PY: None})

    refused(lab, "app/orders/service.py")


def test_colliding_rename(lab: Lab) -> None:
    """An uncommitted edit of a file that the update would rename is refused."""
    lab.write({"app/orders/service.py": ORDERS + "# mine\n"})
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": ORDERS})

    refused(lab, "app/orders/service.py")


@pytest.mark.parametrize("content", ["mine\n", ORDERS], ids=["other", "similar"])
def test_colliding_untracked_file(lab: Lab, content: str) -> None:
    """An untracked file where the update would add one is refused."""
    lab.write({"app/new.py": content})
    lab.release({"{{ package_name }}/new.py": "NEW = 'theirs'\n"})

    refused(lab, "app/new.py")


def test_untracked_file_with_the_same_content(lab: Lab) -> None:
    """An untracked file with the same content as the new file loses nothing, refused or not."""
    lab.write({"app/new.py": "NEW = 'theirs'\n"})
    lab.release({"{{ package_name }}/new.py": "NEW = 'theirs'\n"})

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert lab.read("app/new.py") == "NEW = 'theirs'\n"


def test_untracked_file_where_a_folder_would_be(lab: Lab) -> None:
    """An untracked file in the place of a new folder is refused."""
    lab.write({"app/health": "mine\n"})
    lab.release({"{{ package_name }}/health/live.py": "LIVE = True\n"})

    refused(lab, "app/health")


def test_untracked_folder_where_a_file_would_be(lab: Lab) -> None:
    """A folder with untracked files in the place of a new file is refused."""
    lab.write({"app/health/mine.py": "mine\n"})
    lab.release({"{{ package_name }}/health": "theirs\n"})

    refused(lab, "app/health")


def test_untracked_link_where_a_folder_would_be(lab: Lab, tmp_path: Path) -> None:
    """Nothing is written through an untracked link that leads out of the service."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (lab.path / "app" / "health").symlink_to(outside)
    lab.release({"{{ package_name }}/health/live.py": "LIVE = True\n"})

    refused(lab, "app/health")
    assert list(outside.iterdir()) == []


def test_committed_link_where_a_folder_would_be(lab: Lab, tmp_path: Path) -> None:
    """Nothing is written through a committed link that leads out of the service."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (lab.path / "app" / "health").symlink_to(outside)
    lab.commit()
    lab.release({"{{ package_name }}/health/live.py": "LIVE = True\n"})

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert list(outside.iterdir()) == []


def test_folder_replaced_by_a_link(lab: Lab, tmp_path: Path) -> None:
    """Nothing is written through a link that replaces a folder of the service."""
    outside = tmp_path / "outside"
    (lab.path / "app" / "orders").rename(outside)
    (lab.path / "app" / "orders").symlink_to(outside)
    lab.commit()
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    lab.release({SERVICE_PY: ORDERS + "# theirs\n"})

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("present", [True, False])
def test_ignored_file_that_the_template_renders(lab: Lab, *, present: bool) -> None:
    """A file that the user ignores and no longer tracks stays unchanged and is not added again."""
    lab.git("rm", "--quiet", "--cached", "numbers.txt")
    lab.write({".gitignore": lab.read(".gitignore") + "numbers.txt\n"})
    lab.write({"numbers.txt": "mine, and secret\n" if present else None})
    lab.commit()
    lab.release(THEIRS)

    result = lab.update()

    lab.assert_clean(result)
    assert lab.exists("numbers.txt") is present
    if present:
        assert lab.read("numbers.txt") == "mine, and secret\n"
    assert lab.git("ls-files", "numbers.txt") == ""
    [change] = [change for change in result.changes if change.path == "numbers.txt"]
    assert (change.kind, change.note) == ("ignored", ".gitignore:4 (numbers.txt)")


def test_ignored_file_that_the_template_adds(lab: Lab) -> None:
    """An ignored file of the user stays unchanged when the template adds a file with its name."""
    lab.write({"local.log": "mine\n", ".venv/pyvenv.cfg": "mine\n"})
    lab.release({"local.log": "theirs\n", ".venv/pyvenv.cfg": "theirs\n", "kept.txt": "theirs\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("local.log") == "mine\n"
    assert lab.read(".venv/pyvenv.cfg") == "mine\n"
    assert lab.read("kept.txt") == "theirs\n"
    assert lab.git("ls-files", "local.log", ".venv") == ""
    assert kinds(result) == {"local.log": "ignored", ".venv/pyvenv.cfg": "ignored", "kept.txt": "added"}


@pytest.mark.parametrize("where", ["info", "global"])
def test_ignored_elsewhere(lab: Lab, home: Path, where: str) -> None:
    """Files that are ignored by other means than .gitignore count as ignored."""
    if where == "info":
        (lab.git_dir / "info").mkdir(exist_ok=True)
        (lab.git_dir / "info" / "exclude").write_text("private.txt\n")
    else:
        (home / "ignore").write_text("private.txt\n")
        lab.git("config", "--global", "core.excludesFile", str(home / "ignore"))
    lab.write({"private.txt": "mine\n"})
    lab.release({"private.txt": "theirs\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("private.txt") == "mine\n"


def test_environment_file(lab: Lab) -> None:
    """The service's .env keeps its content and its mode when the template changes the example file."""
    before, mode = lab.read_bytes(".env"), (lab.path / ".env").stat().st_mode
    lab.release({".env.example": "# settings\nSECRET_KEY=change-me\nNEW=1\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert (lab.read_bytes(".env"), (lab.path / ".env").stat().st_mode) == (before, mode)
    assert kinds(result) == {".env.example": "changed"}


def test_tracked_file_that_is_ignored(lab: Lab) -> None:
    """A tracked file that is also ignored is merged like any other."""
    lab.commit({".gitignore": lab.read(".gitignore") + "numbers.txt\n"})
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert "theirs 5" in lab.read("numbers.txt")


def test_assume_unchanged(lab: Lab) -> None:
    """An edit of a file with the `assume-unchanged` flag is not overwritten."""
    lab.git("update-index", "--assume-unchanged", "numbers.txt")
    lab.write({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release(THEIRS)

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert "mine 40" in lab.read("numbers.txt")


def test_edit_within_the_same_second(lab: Lab) -> None:
    """An edit that does not change a file's size and timestamps is not overwritten."""
    file = lab.path / "numbers.txt"
    lab.git("status")
    times = file.stat()
    file.write_text(NUMBERS.replace("line 40", "mine 40"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    lab.release(THEIRS)

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert "mine 40" in lab.read("numbers.txt")


def test_intent_to_add(lab: Lab) -> None:
    """A file that was added with `git add --intent-to-add` stays that way."""
    lab.write({"mine.py": "x\n"})
    lab.git("add", "--intent-to-add", "mine.py")
    before = lab.git("status", "--porcelain", "mine.py")
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert lab.git("status", "--porcelain", "mine.py") == before
    assert lab.read("mine.py") == "x\n"


def test_new_file_that_a_broad_pattern_ignores(lab: Lab) -> None:
    """A new file that the user ignores is reported with the pattern, and the proposed command works."""
    lab.commit({".gitignore": lab.read(".gitignore") + "lib/\n"})
    lab.release({"{{ package_name }}/lib/helper.py": "HELP = 1\n", "numbers.txt": NUMBERS + "more\n"})
    expected = {"path": "app/lib/helper.py", "kind": "ignored", "note": ".gitignore:4 (lib/)"}

    for result in (lab.preview(), lab.update(branch="up"), lab.update()):
        changes = json.loads(to_json(result))["changes"]
        assert [expected] == [
            {key: change[key] for key in expected} for change in changes if change["path"].startswith("app/lib")
        ]
        assert "`app/lib/helper.py`: left out: you ignore it (.gitignore:4 (lib/))" in as_markdown(result)
    lab.assert_clean(result)
    assert not lab.exists("app/lib")

    [command] = [found[1] for note in result.notes if (found := re.search(r"run `(.*)`", note))]
    subprocess.run(["sh", "-ec", command], cwd=lab.path, check=True)
    assert lab.staged("app/lib/helper.py") == lab.read_bytes("app/lib/helper.py") == b"HELP = 1\n"


def test_ignored_file_of_the_users_is_not_overwritten(lab: Lab) -> None:
    """If an ignored file of the user is in the place of a template file, no command that overwrites it is proposed."""
    lab.commit({".gitignore": lab.read(".gitignore") + "lib/\n"})
    lab.write({"app/lib/helper.py": "MINE = 1\n"})
    lab.release({"{{ package_name }}/lib/helper.py": "HELP = 1\n"})

    [note] = [note for note in lab.update().notes if "app/lib/helper.py" in note]

    assert "Your file there stays as it is" in note
    [command] = re.findall(r"`(git [^`]*)`", note)
    shown = subprocess.run(["sh", "-ec", command], cwd=lab.path, check=True, capture_output=True, text=True)
    assert shown.stdout == "HELP = 1\n"
    assert lab.read("app/lib/helper.py") == "MINE = 1\n"


def test_ignored_file_that_the_template_changes(lab: Lab) -> None:
    """A template file that the user ignores is reported together with the command that shows its new content."""
    lab.git("rm", "--cached", "--quiet", "numbers.txt")
    lab.commit({".gitignore": lab.read(".gitignore") + "numbers.txt\n"})
    lab.release({"numbers.txt": NUMBERS + "more\n"})

    [note] = [note for note in lab.update().notes if "numbers.txt" in note]

    assert note.startswith("numbers.txt changed in the template and was left out, because .gitignore:4 (numbers.txt)")
    assert lab.read("numbers.txt") == NUMBERS


def test_file_written_once(lab: Lab) -> None:
    """A file that is written once is reported when the template changes it."""
    lab.release({"CHANGELOG.md": "# Changes\n\n- Other\n"})

    assert kinds(lab.update()) == {"CHANGELOG.md": "yours"}
