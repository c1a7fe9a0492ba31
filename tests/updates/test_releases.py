"""Updates from release to release: this project's template, and small templates where releases are missing."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quickset import git
from quickset.commands import components
from quickset.commands import update as engine
from quickset.commands.new import Request, new
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.templates.questions import load_questions
from quickset.templates.render import renderer
from quickset.templates.source import Source
from quickset.templates.upgrades import is_off
from tests.questions import REPOSITORY, read_questions
from tests.services.matrix import build_rows
from tests.updates.harness import (
    BLOCKS,
    MAIN_PY,
    NUMBERS,
    ORDERS,
    PICTURE,
    PYPROJECT,
    SERVICE_PY,
    Lab,
    copy,
    kinds,
    same,
)

pytestmark = pytest.mark.ci

FIRST, LAST = "0.1.0", "HEAD"

# Files that are written once: the service keeps its first version.
ONCE = {"CHANGELOG.md", "migrations/versions/0001_orders.py", "migrations/versions/0001_users.py"}

_ROWS = {row.name: row.answers for row in build_rows(read_questions())}
_PAIRS = [name for name in _ROWS if name.startswith("pair-")]
SAMPLE = ["defaults", "preset-minimal", "flip-layout-layered", *_PAIRS[:: max(1, len(_PAIRS) // 2)][:2]]


def answers_for(source: Source, name: str) -> dict[str, Any]:
    """Return a row of the matrix without questions that the first release does not have."""
    questions = load_questions(source.template(FIRST).config())
    return {
        key: value
        for key, value in _ROWS[name].items()
        if key in questions and (not questions[key].choices or value in questions[key].choices)
    }


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Read a service except for the files of its owner."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    read = {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode) for path in found}
    return {name: content for name, content in read.items() if name not in ONCE | {".env"}}


def start(source: Source, folder: Path, ref: str, data: Mapping[str, Any]) -> Path:
    new(Request(path=folder, ref=ref, data=data, lock=False), template_source=source)
    return folder


def go(source: Source, folder: Path, to: str) -> None:
    result = engine.update(engine.Request(path=folder, to=to, lock=False), template_source=source)
    assert result.conflicts == ()
    if git.run("status", "--porcelain", cwd=folder):
        git.run("commit", "--quiet", "--message", "Update", cwd=folder)


def fresh(source: Source, folder: Path, like: Path, ref: str) -> dict[str, tuple[bytes, int]]:
    """Render a release with a service's recorded answers, including those that no command accepts."""
    lab, template = Lab(source.root, like, like), source.template(ref)
    questions = load_questions(template.config())
    data = {name: value for name, value in lab.recorded().items() if name in questions and not questions[name].hidden}
    with renderer(template) as work:
        work.render(folder, data)
    return files(folder)


@pytest.mark.parametrize("row", SAMPLE)
def test_untouched_service_is_a_fresh_one(tmp_path: Path, row: str) -> None:
    """An unedited service is updated to the same files, byte for byte, as a new one with its answers."""
    source = Source(REPOSITORY)
    service = start(source, tmp_path / "service", FIRST, answers_for(source, row))

    go(source, service, LAST)

    assert files(service) == fresh(source, tmp_path / "fresh", service, LAST)
    assert git.run("status", "--porcelain", cwd=service) == ""


def test_every_release_on_the_way(tmp_path: Path) -> None:
    """An unedited service is equal to a new one after each release, and one update gives the same as many."""
    source = Source(REPOSITORY)
    releases = [*reversed(source.releases()), LAST]
    service = start(source, tmp_path / "service", FIRST, answers_for(source, "defaults"))
    leap = copy(service, tmp_path / "leap")

    for number, ref in enumerate(releases[1:]):
        go(source, service, ref)
        assert files(service) == fresh(source, tmp_path / f"fresh-{number}", service, ref), ref

    go(source, leap, LAST)
    assert files(service) == files(leap)


@pytest.mark.parametrize("database", ["sqlite", "none"])
def test_an_update_adds_nothing(tmp_path: Path, database: str) -> None:
    """A service from before some questions is updated without their features, and the result names them."""
    source = Source(REPOSITORY)
    service = start(source, tmp_path / "service", "0.2.0", {"database": database})
    request = engine.Request(path=service, to=LAST, lock=False)

    result = engine.update(request, template_source=source)

    off = {"cache": "none", "http_client": False, "rate_limit": "none", "streaming": False, "websockets": False}
    expected = off | ({} if database == "none" else {"auth": "none"})
    assert result.absent.items() >= expected.items()
    assert all(is_off(value) for value in result.absent.values())
    assert files(service) == fresh(source, tmp_path / "fresh", service, LAST)


def test_diff_of_this_template_is_its_update(tmp_path: Path) -> None:
    """`diff` shows the same changes as `update` makes between this project's releases, file by file."""
    source = Source(REPOSITORY)
    service = start(source, tmp_path / "service", FIRST, answers_for(source, "defaults"))
    readme = service / "README.md"
    readme.write_text(readme.read_text() + "\nOurs.\n")
    git.run("commit", "--quiet", "--all", "--message", "Mine", cwd=service)
    request = engine.Request(path=service, to=LAST, lock=False)

    preview = engine.preview(request, template_source=source)
    result = engine.update(request, template_source=source)

    assert preview.changes == result.changes
    assert preview.conflicts == result.conflicts == ()


def three(lab: Lab) -> None:
    """Release three versions that change the same files repeatedly."""
    lab.release(
        {
            "numbers.txt": NUMBERS.replace("line 05", "one 5"),
            "added.txt": "one\n",
            "blocks.yaml": None,
            MAIN_PY: (lab.origin / "template" / MAIN_PY).read_text() + "\n\nONE = 1\n",
        }
    )
    lab.release(
        {
            "numbers.txt": NUMBERS.replace("line 05", "two 5").replace("line 50", "two 50"),
            "added.txt": None,
            "moved.txt": "one\n",
            "blocks.yaml": BLOCKS,
            "logo.png": PICTURE[::-1],
            SERVICE_PY: None,
            "{{ package_name }}/orders/sums.py": ORDERS,
        }
    )
    (lab.origin / "template" / "moved.txt").chmod(0o755)
    lab.release(
        {
            "numbers.txt": NUMBERS.replace("line 50", "three 50"),
            "{{ package_name }}/orders/sums.py": ORDERS + "# three\n",
            "pyproject.toml.jinja": PYPROJECT.replace("fastapi>=0.165,<0.166", "fastapi>=0.170,<0.171"),
        }
    )


def test_three_steps_are_one_leap(lab: Lab, tmp_path: Path) -> None:
    """Three updates of an unedited service give the same result as one update and as a new service."""
    leap = Lab(lab.origin, copy(lab.path, tmp_path / "leap"), tmp_path / "leap")
    three(lab)

    for version in ("0.2.0", "0.3.0", "0.4.0"):
        go(lab.source, lab.path, version)
    go(lab.source, leap.path, "0.4.0")

    assert files(lab.path) == files(leap.path)
    assert files(lab.path) == fresh(lab.source, tmp_path / "fresh", lab.path, "0.4.0")


def test_three_steps_are_one_leap_with_edits(lab: Lab, tmp_path: Path) -> None:
    """Three updates give the same result as one for a service with edits in other places."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 25", "mine 25"), "app/orders/service.py": ORDERS + "\n# mine\n"})
    lab.commit({"app/orders/service.py": ORDERS.replace("TAX = 19", "TAX = 7"), "mine.txt": "mine\n"})
    leap = Lab(lab.origin, copy(lab.path, tmp_path / "leap"), tmp_path / "leap")
    three(lab)

    for version in ("0.2.0", "0.3.0", "0.4.0"):
        go(lab.source, lab.path, version)
    go(lab.source, leap.path, "0.4.0")

    assert files(lab.path) == files(leap.path)
    assert "TAX = 7" in lab.read("app/orders/sums.py")
    assert "mine 25" in lab.read("numbers.txt")


def test_diff_is_what_update_does(lab: Lab, tmp_path: Path) -> None:
    """The patch that `diff` shows gives the same files as `update` stages."""
    lab.commit(
        {
            "numbers.txt": NUMBERS.replace("line 25", "mine 25"),
            "app/orders/router.py": None,
            "app/orders/service.py": ORDERS.replace("TAX = 19", "TAX = 7"),
            "blocks.yaml": BLOCKS + "mine\n",
        }
    )
    three(lab)
    (lab.origin / "template" / "run.sh").chmod(0o644)
    lab.release({"blocks.yaml": None, "windows.txt": None, "größe/naïve ☃.txt": NUMBERS + "theirs\n"})
    patched = copy(lab.path, tmp_path / "patched")

    preview = lab.preview()
    result = lab.update()

    assert preview.changes == result.changes
    assert kinds(preview)["blocks.yaml"] == "kept"
    # The copies have other timestamps than the index.
    git.run("update-index", "-q", "--refresh", cwd=patched)
    # A patch for people only names binary files.
    subprocess.run(
        ["git", "apply", "--index", "--exclude=logo.png", "-"],
        cwd=patched,
        input=preview.patch.encode(),
        check=True,
    )
    differing = git.run("diff-files", "--name-only", cwd=lab.path)
    assert differing == ""
    assert {name: file for name, file in files(patched).items() if name != "logo.png"} == {
        name: file for name, file in files(lab.path).items() if name != "logo.png"
    }


def test_diff_of_conflicts(lab: Lab) -> None:
    """`diff` names the conflicts that `update` creates."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5"), "added.txt": "mine\n"})
    three(lab)

    preview = lab.preview(to="0.2.0")
    result = lab.update(to="0.2.0")

    assert preview.changes == result.changes
    assert preview.conflicts == result.conflicts == ("added.txt", "numbers.txt")


# --- Components ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docker", "cache=redis", "cache=memory"])
def test_add_then_remove(lab: Lab, name: str) -> None:
    """Adding a component and removing it restores the tree."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 25", "mine 25")})
    before = lab.git("rev-parse", "HEAD^{tree}")

    added = components.add(lab.path, [name], lock=False, template_source=lab.source)
    assert "added" in kinds(added).values()
    lab.commit(message="Add")
    assert lab.git("rev-parse", "HEAD^{tree}") != before
    components.remove(lab.path, [name.split("=", maxsplit=1)[0]], lock=False, template_source=lab.source)
    lab.commit(message="Remove")

    assert lab.git("rev-parse", "HEAD^{tree}") == before


def test_add_is_a_fresh_one(lab: Lab, tmp_path: Path) -> None:
    """A service with an added component is equal to one that was created with it."""
    components.add(lab.path, ["docker", "cache=redis"], lock=False, template_source=lab.source)
    lab.commit(message="Add")

    assert files(lab.path) == fresh(lab.source, tmp_path / "fresh", lab.path, "0.1.0")


def test_remove_what_the_user_edited(lab: Lab) -> None:
    """An edited file of a removed component is kept or a conflict, and never lost."""
    components.add(lab.path, ["docker"], lock=False, template_source=lab.source)
    lab.commit(message="Add")
    lab.commit({"Dockerfile": lab.read("Dockerfile") + "RUN mine\n"})

    result = components.remove(lab.path, ["docker"], lock=False, template_source=lab.source)

    assert "RUN mine" in lab.read("Dockerfile")
    assert kinds(result)["Dockerfile"] == "kept"


def test_add_over_a_users_file(lab: Lab) -> None:
    """A user's file in the place of a component's file is not replaced."""
    lab.commit({"Dockerfile": "FROM mine\n"})

    result = components.add(lab.path, ["docker"], lock=False, template_source=lab.source)

    assert "FROM mine" in lab.read("Dockerfile")
    assert result.conflicts == ("Dockerfile",)


def test_add_and_undo(lab: Lab) -> None:
    """An addition with a conflict is undone or finished like an update."""
    lab.replace("pyproject.toml", ("A service.", "Mine."))
    lab.commit({"Dockerfile": "FROM mine\n"})
    before = lab.snapshot()
    result = components.add(lab.path, ["docker"], lock=False, template_source=lab.source)
    assert result.conflicts == ("Dockerfile",)
    assert lab.recorded()["docker"] is False

    lab.abort()
    same(lab.snapshot(), before)
    components.add(lab.path, ["docker"], lock=False, template_source=lab.source)
    lab.write({"Dockerfile": "FROM both\n"})
    lab.git("add", "--all")
    lab.resume()

    assert lab.recorded()["docker"] is True
    assert lab.staged(ANSWERS_FILE) == lab.read_bytes(ANSWERS_FILE)
