"""Rare cases in which an earlier update lost a line or stopped."""

import os
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quickset.errors import QuicksetError, RefusedError
from quickset.templates.answers_file import ANSWERS_FILE
from tests.updates.harness import NUMBERS, PYPROJECT, SERVICE_PY, Lab, kinds, refusal, same

if TYPE_CHECKING:
    from collections.abc import Callable

MINE = NUMBERS.replace("line 40", "mine 40")
THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")}


def test_move_to_an_ignored_place(lab: Lab) -> None:
    """A file that the template moves to an ignored folder stays at its path, with the user's edits."""
    lab.commit({"numbers.txt": MINE, ".gitignore": lab.read(".gitignore") + "build/\n"})
    lab.release({"numbers.txt": None, "build/numbers.txt": NUMBERS})

    result = lab.update()

    assert lab.read("numbers.txt") == MINE
    assert not lab.exists("build/numbers.txt")
    assert any("stays where it is" in note for note in result.notes)
    assert kinds(result) == {"build/numbers.txt": "ignored", "numbers.txt": "yours"}


@pytest.mark.parametrize("folder", ["app/data.toml", "app/data.toml/mine.txt"])
def test_new_file_where_the_user_moved_a_folder(lab: Lab, folder: str) -> None:
    """A new file that follows a renamed folder does not replace a file of the user there."""
    for name in lab.git("ls-files", "app").split():
        (lab.path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        lab.git("mv", name, f"src/{name}")
    lab.commit({f"src/{folder}": "mine = true\n"})
    lab.release({"app/data.toml": "theirs = true\n"})

    result = lab.update()

    assert result.conflicts
    assert "mine = true" in "".join(
        path.read_text()
        for path in (lab.path / "src").rglob("*")
        if path.is_file() and path.suffix in {".toml", ".txt"}
    )
    lab.abort()
    assert lab.git("status", "--porcelain") == ""


def test_nested_service(lab: Lab) -> None:
    """Files of a service in a subfolder are not replaced by the template's files for the outer service."""
    answers = lab.read(ANSWERS_FILE)
    lab.commit({f"tools/{ANSWERS_FILE}": answers, "tools/README.md": "mine\n"})
    lab.release({"tools/README.md": "theirs\n"})

    result = lab.update()

    assert lab.read("tools/README.md") == "mine\n"
    assert any("another service" in note for note in result.notes)
    assert kinds(result) == {"tools/README.md": "yours"}


def test_answers_among_fixtures(lab: Lab) -> None:
    """An answers file in a folder of the template does not make that folder a service."""
    lab.commit(
        {f"app/orders/{ANSWERS_FILE}": "x: 1\n", "app/orders/service.py": lab.read("app/orders/service.py") + "# m\n"}
    )
    lab.release({SERVICE_PY: "# theirs\n" + lab.read("app/orders/service.py").removesuffix("# m\n")})

    lab.assert_clean(lab.update())

    text = lab.read("app/orders/service.py")
    assert text.startswith("# theirs\n")
    assert text.endswith("# m\n")


def test_branch_that_was_amended(lab: Lab) -> None:
    """An amended commit on the update's branch belongs to the user."""
    lab.release(THEIRS)
    lab.update(branch="up")
    lab.git("switch", "--quiet", "up")
    lab.write({"fix.txt": "mine\n"})
    lab.git("add", "--all")
    lab.git("commit", "--quiet", "--amend", "--no-edit")
    lab.git("switch", "--quiet", "-")

    with pytest.raises(RefusedError, match="that quickset did not make"):
        lab.update(branch="up")

    assert lab.git("show", "up:fix.txt").strip() == "mine"


def test_uncommitted_answers(lab: Lab) -> None:
    """Uncommitted answers are not used, neither for a branch nor for a preview."""
    lab.release(THEIRS)
    lab.update()
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5").replace("line 50", "theirs 50")})

    actions: list[Callable[[], object]] = [partial(lab.update, branch="up"), lab.preview, lab.update]
    for action in actions:
        with pytest.raises(RefusedError, match=r"not committed: .copier-answers.yml"):
            action()


def conflict(lab: Lab) -> None:
    """Bring the service to a conflict in one file and a change in another."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.release({**THEIRS, "added-later.txt": "theirs\n"})
    assert lab.update().conflicts == ("numbers.txt",)


def test_answers_changed_before_going_on(lab: Lab) -> None:
    """Answers that the user committed while resolving a conflict are kept, together with the new version."""
    conflict(lab)
    lab.write({"numbers.txt": "both\n", ANSWERS_FILE: lab.read(ANSWERS_FILE) + "# ours\n"})
    lab.commit()

    lab.resume()

    assert "# ours\n" in lab.read(ANSWERS_FILE)
    assert lab.at() == "0.2.0"


def test_objects_tidied_away(lab: Lab) -> None:
    """`--continue` works after `git gc` ran during a conflict."""
    conflict(lab)
    lab.git("gc", "--quiet", "--prune=now")
    lab.commit({"numbers.txt": "both\n"})

    lab.resume()

    assert lab.at() == "0.2.0"


def test_nothing_left_to_go_on_with(lab: Lab) -> None:
    """After `git reset --hard` the version does not advance, and the next update starts again."""
    conflict(lab)
    lab.git("reset", "--quiet", "--hard")

    with pytest.raises(RefusedError, match="nothing of the update is left"):
        lab.resume()

    assert lab.at() == "0.1.0"
    assert lab.update().conflicts == ("numbers.txt",)


def test_markers_in_a_moved_file(lab: Lab) -> None:
    """Conflict markers are also found in a file that the user moved."""
    lab.git("mv", "numbers.txt", "mine.txt")
    lab.commit({"mine.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.release(THEIRS)
    assert lab.update().conflicts == ("mine.txt",)
    lab.git("add", "--all")

    with pytest.raises(QuicksetError, match=r"conflict markers are left in mine\.txt"):
        lab.resume()


def test_files_called_like_ours(lab: Lab) -> None:
    """No file of the user is mistaken for a leftover of a killed run."""
    lab.commit({".numbers.txt.quickset": "mine\n", ".quickset-1": "mine\n"})
    conflict(lab)

    lab.abort()

    assert lab.read(".numbers.txt.quickset") == lab.read(".quickset-1") == "mine\n"


def test_long_name(lab: Lab) -> None:
    """A file with a name of maximum length is updated."""
    name = "n" * 251 + ".txt"
    lab.git("mv", "numbers.txt", name)
    lab.commit()
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert "theirs 5" in lab.read(name)


def test_abort_does_not_write_through_a_link(lab: Lab, tmp_path: Path) -> None:
    """An abort writes nothing through a link that leads out of the repository."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.release({**THEIRS, SERVICE_PY: None})
    assert lab.update().conflicts
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in sorted((lab.path / "app" / "orders").glob("*")):
        path.unlink()
    if (lab.path / "app" / "orders").is_dir():
        (lab.path / "app" / "orders").rmdir()
    (lab.path / "app" / "orders").symlink_to(outside)

    with pytest.raises(RefusedError, match="edited since"):
        lab.abort()

    assert list(outside.iterdir()) == []


def test_line_that_is_staged_only(lab: Lab) -> None:
    """`--abort` keeps a line that is only in the index."""
    conflict(lab)
    text = lab.read("added-later.txt")
    lab.write({"added-later.txt": text + "mine\n"})
    lab.git("add", "added-later.txt")
    lab.write({"added-later.txt": text})

    with pytest.raises(RefusedError, match=r"edited since the update: added-later\.txt"):
        lab.abort()


@pytest.mark.parametrize("setting", ["merge.default=union", "merge.renormalize=true", "log.showSignature=true"])
def test_settings_that_decide_over_merges(lab: Lab, setting: str) -> None:
    """Merge settings of the user neither hide a conflict nor break the update."""
    name, _, value = setting.partition("=")
    lab.git("config", name, value)

    conflict(lab)

    assert lab.stages() == {"numbers.txt": {1, 2, 3}}


@pytest.mark.parametrize("variable", ["GIT_LITERAL_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_DEFAULT_HASH"])
def test_variables_of_git(lab: Lab, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Variables that change the meaning of git's arguments have no effect."""
    lab.release(THEIRS)
    monkeypatch.setenv(variable, "sha256" if variable.endswith("HASH") else "1")

    lab.assert_clean(lab.update())


def dependencies(lab: Lab, own: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Change `pyproject.toml` on both sides, update, and return the result."""
    text = lab.read("pyproject.toml")
    assert own[0] in text
    assert theirs[0] in PYPROJECT
    lab.commit({"pyproject.toml": text.replace(*own)})
    lab.release({"pyproject.toml.jinja": PYPROJECT.replace(*theirs)})
    lab.assert_clean(lab.update())
    merged = lab.read("pyproject.toml")
    tomllib.loads(merged)
    return merged


def test_comment_beside_a_requirement(lab: Lab) -> None:
    """A comment at the end of a requirement's line stays when the template raises the version."""
    line = '"structlog>=26.1,<27",'
    merged = dependencies(lab, (line, f"{line}  # our audit"), ("structlog>=26.1,<27", "structlog>=26.2,<27"))

    assert '"structlog>=26.2,<27",  # our audit\n' in merged


def test_commented_requirement_that_the_template_drops(lab: Lab) -> None:
    """A requirement that the user marked with a comment stays when the template removes it."""
    line = '"orjson>=3.13,<4",'
    merged = dependencies(lab, (line, f"{line}  # ours"), (f"  {line}\n", ""))

    assert f"{line}  # ours\n" in merged


def test_no_comma_at_the_end(lab: Lab) -> None:
    """An array without a final comma gets another item and remains valid TOML."""
    line = '"uvicorn>=0.54,<0.55"'
    merged = dependencies(lab, (f"{line},\n", f"{line}\n"), (f"  {line},\n", f'  {line},\n  "zstandard>=1,<2",\n'))

    assert '"zstandard>=1,<2"' in merged


def test_array_that_only_looks_alike(lab: Lab) -> None:
    """An array inside a string, or with the same name in another place, is not treated as the dependencies."""
    text = "[tool.ruff]"
    mine = '[[tool.mine]]\ndev = [\n  "ruff>=0.17.5,<0.18",\n]\n\n[tool.ruff]'
    merged = dependencies(lab, (text, mine), ('"ruff>=0.17.5,<0.18",\n', '"ruff>=0.17.6,<0.18",\n'))

    loaded = tomllib.loads(merged)
    assert loaded["tool"]["mine"] == [{"dev": ["ruff>=0.17.5,<0.18"]}]


@pytest.mark.parametrize("settings", ["[tool.ruff]\nformat = true\n", '[tool]\nruff = "x"\n'])
def test_odd_settings_of_the_formatter(lab: Lab, settings: str) -> None:
    """Invalid settings of the formatter cause no traceback."""
    lab.commit({"pyproject.toml": '[project]\nname = "x"\nversion = "1"\n' + settings})
    lab.release(THEIRS)

    assert lab.update().changes


def test_comment_in_the_answers(lab: Lab) -> None:
    """A user's comment in the answers file is kept."""
    text = lab.read(ANSWERS_FILE)
    lab.commit({ANSWERS_FILE: text.replace("_commit: v0.1.0", "_commit: v0.1.0  # mind this")})
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert "_commit: v0.2.0  # mind this\n" in lab.read(ANSWERS_FILE)


def test_folder_that_cannot_be_written(lab: Lab) -> None:
    """If the system denies a write during an update, the error names both solutions, and both work."""
    lab.release({**THEIRS, SERVICE_PY: "# theirs\n"})
    before = lab.snapshot()
    folder = lab.path / "app" / "orders"
    # Root can write anywhere, so the test puts a folder in the way of the temporary file.
    real = os.link

    def link(source: Path, target: Path, **options: bool) -> None:
        if target.parent == folder:
            raise PermissionError(13, "Permission denied", str(target))
        real(source, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", link)
        patch.setattr("shutil.copy2", link)
        with pytest.raises(QuicksetError, match=r"Permission denied.*--continue.*--abort"):
            lab.update()

    lab.abort()
    same(lab.snapshot(), before)
    assert kinds(lab.update())["numbers.txt"] == "changed"


def test_looking_at_files_does_not_write_the_index(lab: Lab) -> None:
    """Reading files with new timestamps does not make git write its index, which a kill could leave locked."""
    lab.release({**THEIRS, "run.sh": "#!/bin/sh\n# theirs\n"})
    lab.write({"numbers.txt": MINE})
    os.utime(lab.path / "run.sh", (0, 0))
    before = (lab.git_dir / "index").stat()

    assert isinstance(refusal(lab.update), RefusedError)

    after = (lab.git_dir / "index").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
