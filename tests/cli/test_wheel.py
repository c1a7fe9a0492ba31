import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from quickset import git
from quickset.templates import history
from quickset.templates.template import CANONICAL_URL
from tests.cli.conftest import release
from tests.questions import REPOSITORY

pytestmark = pytest.mark.ci


@pytest.fixture
def project(checkout: Path) -> Path:
    """A checkout that can be built: this project's code and a small template with three releases."""
    shutil.copytree(REPOSITORY / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, checkout)
    for version in ("0.1.0", "0.1.1", "0.1.2"):
        release(checkout, version)
    # Only after this point: the version file of the small template has fewer lines.
    shutil.copy(REPOSITORY / "pyproject.toml", checkout)
    text = (checkout / "pyproject.toml").read_text().replace(f'version = "{version_here()}"', 'version = "0.1.3.dev0"')
    (checkout / "pyproject.toml").write_text(text)
    git.run("add", "--all", cwd=checkout)
    git.run("commit", "--quiet", "--message", "All of it", cwd=checkout)
    return checkout


def version_here() -> str:
    return history.version_at(Path(git.run("rev-parse", "--absolute-git-dir", cwd=REPOSITORY)), "HEAD")


def build(folder: Path, *targets: str, directory: Path = Path("dist")) -> subprocess.CompletedProcess[str]:
    options = [option for target in targets for option in ("--target", target)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(directory), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def unpack(folder: Path, site: Path) -> Path:
    (wheel,) = (folder / "dist").glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    return site


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make the installed files read-only for the user, as after an installation by an administrator."""
    owner = folder.stat().st_uid
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, owner, -1)


def run(site: Path, work: Path, args: Sequence[str]) -> dict[str, object]:
    """Run an installed quickset without network access."""
    env = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "quickset", *args, "--json"],
        cwd=work, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_wheel_brings_every_release(project: Path, work: Path, tmp_path: Path) -> None:
    """A wheel creates services of every release and of its own state, without network, git or write access."""
    built = build(project, "wheel")
    assert built.returncode == 0, built.stderr
    site = unpack(project, tmp_path / "site")
    head = git.run("rev-parse", "HEAD", cwd=project)
    options = ("--defaults", "--no-lock")

    with read_only(site):
        made = {ref: run(site, work, ("new", ref, *options, "--ref", ref)) for ref in ("0.1.0", "0.1.1", "HEAD")}
        made["newest"] = run(site, work, ("new", "newest", *options))
        shown = run(site, work, ("info", "0.1.1"))

    assert {name: (work / name / "VERSION").read_text() for name in made} == {
        "0.1.0": "0.1.0",
        "0.1.1": "0.1.1",
        "HEAD": "after 0.1.2",
        "newest": "0.1.2",
    }
    assert made["HEAD"]["template"] == f"v0.1.3.dev0+g{head[:12]}"
    recorded = (work / "0.1.0" / ".copier-answers.yml").read_text()
    assert f"_src_path: {CANONICAL_URL}" in recorded
    assert "_commit: v0.1.0\n" in recorded
    assert shown["notes"] == []


def test_this_wheel(work: Path, tmp_path: Path) -> None:
    """This project's wheel creates a service of its newest release."""
    built = build(REPOSITORY, "wheel", directory=tmp_path / "dist")
    assert built.returncode == 0, built.stderr

    document = run(unpack(tmp_path, tmp_path / "site"), work, ("new", "a", "--defaults", "--no-lock"))

    assert isinstance(document["files"], list)
    assert "Dockerfile" in document["files"]
    assert document["released"]


def test_wheel_from_an_sdist(project: Path, tmp_path: Path) -> None:
    """An sdist has no history but contains the bundle, and its wheel contains the same one."""
    assert build(project, "sdist", "wheel").returncode == 0
    (sdist,) = (project / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    built = build(unpacked, "wheel")

    assert built.returncode == 0, built.stderr
    direct, through = unpack(project, tmp_path / "a"), unpack(unpacked, tmp_path / "b")
    bundle = "quickset/_template.bundle"
    assert (direct / bundle).read_bytes() == (through / bundle).read_bytes()
    assert {path.relative_to(direct) for path in direct.rglob("*")} == {
        path.relative_to(through) for path in through.rglob("*")
    }


def test_uncommitted_changes_are_said(project: Path) -> None:
    """Uncommitted changes are not in the wheel, and the build reports them."""
    (project / "template" / "NEW").write_text("")

    built = build(project, "wheel")

    assert built.returncode == 0
    assert "Uncommitted changes" in built.stdout + built.stderr


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_builds_that_cannot_be(project: Path, tmp_path: Path, target: str) -> None:
    """Without the whole history no wheel is built, and one line gives the reason."""
    shallow, copied = tmp_path / "shallow", tmp_path / "copied"
    git.run("clone", "--quiet", "--depth=1", project.as_uri(), str(shallow))
    shutil.copytree(project, copied, ignore=shutil.ignore_patterns(".git"))
    git.run("tag", "v0.1.0", "HEAD", cwd=project)

    for folder, reason in (
        (shallow, "git fetch --unshallow"),
        (copied, "neither a git checkout"),
        (project, "the tag v0.1.0 is on"),
    ):
        built = build(folder, target)
        output = built.stdout + built.stderr
        assert built.returncode == 1
        assert reason in output
        assert "Traceback" not in output
        assert not list(folder.glob(f"dist/*.{'whl' if target == 'wheel' else 'gz'}"))
