import subprocess
import sys
from pathlib import Path

import copier
import pytest

from quickset import git
from quickset.commands.new import Request, new
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.templates import history
from quickset.templates.render import renderer
from quickset.templates.source import Bundle, Source, here
from tests.cli.conftest import commit_all, release, set_version, write_template
from tests.questions import REPOSITORY


def test_releases(checkout: Path, origin: Source) -> None:
    """A release is the commit that sets a final version, tagged or not. The newest is first."""
    first, second = release(checkout, "0.1.0"), release(checkout, "0.1.1")

    assert list(origin.releases().items()) == [("0.1.1", second), ("0.1.0", first)]


def test_other_changes_are_no_release(checkout: Path, origin: Source) -> None:
    """A commit that changes another version line, or that comes from a merged branch, is not a release."""
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
    """The newest release is the default, HEAD and any release can be selected, and the service records the choice."""
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
    """An unknown release is refused with a list of the known ones."""
    with pytest.raises(UsageError, match=r"no release '9\.9\.9' here \(known: none yet; or HEAD\)"):
        origin.template("9.9.9")
    with pytest.raises(UsageError, match=r"no release 'v0\.1\.0\.dev0"):
        origin.template("v0.1.0.dev0+gabcdef012345")


def test_uncommitted_changes(checkout: Path, origin: Source, work: Path) -> None:
    """Uncommitted changes are not included, and a note reports them."""
    (checkout / "template" / "NEW").write_text("")

    created = new(Request(path=work / "a", lock=False), template_source=origin)

    assert "NEW" not in created.files
    assert "Uncommitted" in created.notes[0]


def test_checkout_without_a_commit(tmp_path: Path) -> None:
    """A repository without a commit has no template and is refused with the reason."""
    folder = write_template(tmp_path / "fresh")
    git.run("init", "--quiet", cwd=folder)

    with pytest.raises(QuicksetError, match="no commit yet"):
        Source(folder).template()


def test_worktree(checkout: Path, tmp_path: Path, home: Path) -> None:
    """A linked work tree works like the checkout, even if git does not trust bare repositories."""
    with (home / ".gitconfig").open("a") as settings:
        settings.write("[safe]\nbareRepository = explicit\n")
    git.run("worktree", "add", "--quiet", str(tmp_path / "linked"), cwd=checkout)

    with renderer(Source(tmp_path / "linked").template()) as work:
        assert work.render(tmp_path / "made", {"project_name": "A"}).answers["project_name"] == "A"


def test_unpacked_in_a_repository(tmp_path: Path) -> None:
    """A folder inside another repository is not a checkout, because that history belongs to another project."""
    git.run("init", "--quiet", cwd=tmp_path)

    with pytest.raises(QuicksetError, match="not a git checkout"):
        Source(write_template(tmp_path / "unpacked")).template()


def test_in_another_folder(checkout: Path, origin: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases are found from any folder, including one below the checkout."""
    release(checkout, "0.1.0")
    monkeypatch.chdir(checkout / "template")

    assert origin.versions() == ["0.1.0"]


def test_tags_agree(checkout: Path, origin: Source) -> None:
    """A tag must be on the release's commit, annotated or not. On another commit it is an error that names both."""
    first, second = release(checkout, "0.1.0"), release(checkout, "0.1.1")
    git.run("tag", "v0.1.0", first, cwd=checkout)
    git.run("tag", "--annotate", "--message", "x", "v0.1.1", second, cwd=checkout)
    git.run("tag", "v0.9.0", "HEAD", cwd=checkout)
    assert origin.versions() == ["0.1.1", "0.1.0"]

    git.run("tag", "--force", "v0.1.1", "HEAD", cwd=checkout)

    with pytest.raises(QuicksetError, match=rf"the tag v0\.1\.1 is on \w+, but {second[:12]} is the commit"):
        origin.template()


@pytest.mark.parametrize(
    ("commit", "advice"),
    [
        ("v0.2.0", "newer than this quickset .* `uvx quickset@latest update`"),
        ("v0.0.9", "no such release .*0.1.1, 0.1.0"),
        ("v0.1.2.dev0+gabcdef012345", "between releases .* a checkout that has this commit"),
        ("v0.1.1-3-gabcdef0", "between releases"),
        ("main", "between releases"),
        ("HEAD", "between releases"),
    ],
)
def test_recorded_and_unknown(checkout: Path, origin: Source, tmp_path: Path, commit: str, advice: str) -> None:
    """A recorded version that is unknown is refused with a solution, from a checkout and from a package."""
    release(checkout, "0.1.0")
    release(checkout, "0.1.1")

    for each in (origin, packed(checkout, tmp_path)):
        with pytest.raises(RefusedError, match=advice):
            each.recorded(commit)


def packed(checkout: Path, folder: Path) -> Bundle:
    history.write_bundle(checkout, folder / "template.bundle")
    return Bundle(folder / "template.bundle")


def test_bundle(checkout: Path, origin: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle has one commit for each release and for the unreleased state. Listing them does not need git."""
    for version in ("0.1.0", "0.1.1", "0.1.2"):
        release(checkout, version)
    (checkout / "upgrades.yml").write_text("0.1.3: {}\n")
    head = commit_all(checkout, "Upgrades")

    bundle = packed(checkout, tmp_path)

    between = f"0.1.3.dev0+g{head[:12]}"
    assert list(history.read_bundle(bundle.root)) == ["0.1.2", "0.1.1", "0.1.0", between]
    assert {ref: bundle.template(ref).read("template/VERSION") for ref in (None, "0.1.0", "v0.1.1", "HEAD")} == {
        None: "0.1.2",
        "0.1.0": "0.1.0",
        "v0.1.1": "0.1.1",
        "HEAD": "after 0.1.2",
    }
    assert bundle.template("HEAD").ref == f"v{between}" == origin.template("HEAD").ref
    assert bundle.recorded(f"v{between}").read("upgrades.yml") == "0.1.3: {}\n"
    assert bundle.template().read("upgrades.yml") is None
    assert bundle.template("0.1.0").config() == origin.template("0.1.0").config()
    monkeypatch.setenv("PATH", "")
    assert bundle.versions() == ["0.1.2", "0.1.1", "0.1.0"]
    with pytest.raises(UsageError, match=r"no release '9\.9\.9' here \(known: 0\.1\.2, 0\.1\.1, 0\.1\.0; or HEAD\)"):
        bundle.template("9.9.9")


def test_bundle_of_a_release(checkout: Path, tmp_path: Path) -> None:
    """In a bundle that is built at a release HEAD is that release and is recorded as such."""
    release(checkout, "0.1.0")
    git.run("checkout", "--quiet", "HEAD~", cwd=checkout)

    head = packed(checkout, tmp_path).template("HEAD")

    assert (head.ref, head.released) == ("v0.1.0", True)


def test_same_history_same_bundle(checkout: Path, tmp_path: Path) -> None:
    """Bundles of the same history have the same commit ids, for any builder and any folder."""
    release(checkout, "0.1.0")
    (tmp_path / "other").mkdir()
    git.run("clone", "--quiet", str(checkout), str(tmp_path / "clone"))

    one, other = packed(checkout, tmp_path), packed(tmp_path / "clone", tmp_path / "other")

    assert one.root.read_bytes() == other.root.read_bytes()


def test_damaged_bundle(tmp_path: Path) -> None:
    """An invalid bundle is reported as damaged."""
    (tmp_path / "template.bundle").write_bytes(b"x")

    with pytest.raises(QuicksetError, match="damaged; install it again"):
        Bundle(tmp_path / "template.bundle").versions()


def test_bundle_needs_the_whole_history(checkout: Path, tmp_path: Path) -> None:
    """A shallow clone lacks releases, so no bundle is built from it."""
    release(checkout, "0.1.0")
    git.run("clone", "--quiet", "--depth=1", checkout.as_uri(), str(tmp_path / "shallow"))

    with pytest.raises(QuicksetError, match="git fetch --unshallow"):
        history.write_bundle(tmp_path / "shallow", tmp_path / "template.bundle")


def test_build_needs_the_standard_library_only() -> None:
    """The build imports only the standard library, because it runs before dependencies are installed."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import quickset.templates.history"

    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(REPOSITORY / "src")], check=True)


def test_plain_copier_on_a_tagged_clone(checkout: Path, work: Path, tmp_path: Path) -> None:
    """With tags, plain Copier copies a release and updates to a newer one without `--trust`."""
    for version in ("0.1.0", "0.1.1"):
        git.run("tag", f"v{version}", release(checkout, version), cwd=checkout)
    service = work / "plain"

    copier.run_copy(checkout.as_uri().replace("file", "git+file"), service, vcs_ref="v0.1.0", defaults=True, quiet=True)
    git.run("init", "--quiet", cwd=service)
    commit_all(service, "Start")
    assert (service / "VERSION").read_text() == "0.1.0"
    copier.run_update(service, defaults=True, overwrite=True, quiet=True)

    assert (service / "VERSION").read_text() == "0.1.1"
    assert "_commit: v0.1.1" in (service / ".copier-answers.yml").read_text()


def test_same_template_same_commit(origin: Source, tmp_path: Path) -> None:
    """Copier's clone depends only on the template."""
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
    """Plain Copier on this repository creates the same files as `new`, except .env, the lock file and the source."""
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
    """The tests run with this checkout's template."""
    assert here().root == REPOSITORY
