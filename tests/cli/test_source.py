from pathlib import Path

import copier
import pytest

from quickset import git
from quickset.errors import QuicksetError, UsageError
from quickset.new import Request, new
from quickset.render import renderer
from quickset.source import Source, here
from tests.cli.conftest import commit_all, set_version, write_template
from tests.questions import REPOSITORY
from tests.rendering import read_tree


def release(checkout: Path, version: str) -> str:
    """Release a version, and open the next one's development."""
    marker = checkout / "template" / "VERSION"
    marker.write_text(version)
    set_version(checkout, version)
    commit = commit_all(checkout, f"Release {version}")
    marker.write_text(f"after {version}")
    set_version(checkout, f"{version[:-1]}{int(version[-1]) + 1}.dev0")
    commit_all(checkout, "Go on")
    return commit


def test_releases(checkout: Path, origin: Source) -> None:
    """A release is the commit that set a final version, tagged or not; the newest comes first."""
    first, second = release(checkout, "0.1.0"), release(checkout, "0.1.1")

    assert list(origin.releases().items()) == [("0.1.1", second), ("0.1.0", first)]


def test_other_changes_are_no_release(checkout: Path, origin: Source) -> None:
    """A commit that touches another version line, or comes from a merged branch, releases nothing."""
    first = release(checkout, "0.1.0")
    git.run("switch", "--quiet", "--create", "side", cwd=checkout)
    release(checkout, "0.5.0")
    git.run("switch", "--quiet", "main", cwd=checkout)
    git.run("merge", "--quiet", "--no-ff", "--strategy=ours", "--message", "Merge", "side", cwd=checkout)
    set_version(checkout, "0.1.0")
    with (checkout / "pyproject.toml").open("a") as project:
        project.write('[tool.other]\nversion = "9.9.9"\n')
    again = commit_all(checkout, "Set it again")

    assert origin.releases() == {"0.1.0": again}
    assert first != again


def test_choice_of_the_state(checkout: Path, origin: Source, work: Path) -> None:
    """The newest release is the default, HEAD and any release can be had, and the service records which it was."""
    release(checkout, "0.1.0")
    release(checkout, "0.1.1")

    made = {
        ref: new(Request(path=work / str(ref), ref=ref, lock=False), template_source=origin)
        for ref in (None, "0.1.0", "v0.1.1", "HEAD")
    }

    assert {ref: (each.path / "VERSION").read_text() for ref, each in made.items()} == {
        None: "0.1.1",
        "0.1.0": "0.1.0",
        "v0.1.1": "0.1.1",
        "HEAD": "after 0.1.1",
    }
    assert made[None].template == "v0.1.1"
    assert made[None].released
    assert made["HEAD"].template.startswith("v0.1.2.dev0+g")
    assert not made["HEAD"].released


def test_unknown_state(origin: Source) -> None:
    """An unknown release is refused with those that are known."""
    with pytest.raises(UsageError, match=r"no release '9\.9\.9' here \(known: none yet; or HEAD\)"):
        origin.template("9.9.9")
    with pytest.raises(UsageError, match="does not hold"):
        origin.template("v0.1.0.dev0+gabcdef012345")


def test_uncommitted_changes(checkout: Path, origin: Source, work: Path) -> None:
    """What is not committed is not in, and it says so."""
    (checkout / "template" / "NEW").write_text("")

    created = new(Request(path=work / "a", lock=False), template_source=origin)

    assert "NEW" not in created.files
    assert "Uncommitted" in created.notes[0]


def test_checkout_without_a_commit(tmp_path: Path) -> None:
    """A repository that has no commit yet has no template, and it says so."""
    folder = write_template(tmp_path / "fresh")
    git.run("init", "--quiet", cwd=folder)

    with pytest.raises(QuicksetError, match="no commit yet"):
        Source(folder).template()


def test_worktree_and_unpacked(checkout: Path, tmp_path: Path) -> None:
    """A linked work tree serves as well as the checkout; a folder unpacked in somebody's repository is no checkout."""
    git.run("worktree", "add", "--quiet", str(tmp_path / "linked"), cwd=checkout)
    git.run("init", "--quiet", cwd=tmp_path)
    unpacked = write_template(tmp_path / "unpacked")

    for root in (tmp_path / "linked", unpacked):
        with renderer(Source(root).template()) as work:
            assert work.render(tmp_path / f"from-{root.name}", {"project_name": "A"})["project_name"] == "A"
    assert read_tree(tmp_path / "from-linked").keys() == read_tree(tmp_path / "from-unpacked").keys()


def test_same_template_same_commit(origin: Source, tmp_path: Path) -> None:
    """What Copier clones depends on the template alone."""
    template = origin.template()
    template.write_repository(tmp_path / "a.git")
    template.write_repository(tmp_path / "b.git")

    heads = {git.run("rev-parse", "HEAD", cwd=tmp_path / name) for name in ("a.git", "b.git")}
    assert len(heads) == 1
    assert git.run("ls-tree", "--name-only", "HEAD", cwd=tmp_path / "a.git").split() == ["copier.yml", "template"]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"layout": "layered", "database": "postgresql", "error_format": "problem", "package_name": "orders_api"},
        {"example": False, "database": "none", "docker": False, "license": "Proprietary"},
    ],
)
def test_plain_copier_makes_the_same(work: Path, tmp_path: Path, data: dict[str, str | bool]) -> None:
    """Plain Copier on this repository makes what `new` makes, but for .env, the lock and the recorded source."""
    clone = tmp_path / "clone"
    git.run("clone", "--quiet", str(REPOSITORY), str(clone))
    answers = {"project_name": "Orders", "author_name": "", "author_email": "", "python_version": "3.11", **data}

    created = new(Request(path=work / "ours", data=answers, ref="HEAD", lock=False), template_source=Source(clone))
    copier.run_copy(str(clone), work / "plain", answers, vcs_ref="HEAD", defaults=True, quiet=True)

    ours, plain = read_files(created.path), read_files(work / "plain")
    assert ours.pop(".env", None)
    source = ("_commit", "_src_path")
    for tree in (ours, plain):
        lines = tree[".copier-answers.yml"].decode().splitlines()
        tree[".copier-answers.yml"] = "\n".join(line for line in lines if not line.startswith(source)).encode()
    assert ours == plain


def read_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_here() -> None:
    """The tests run on this checkout's own template."""
    assert here().root == REPOSITORY
