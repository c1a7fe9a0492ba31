"""Find the releases in the history of this project, and write them to the bundle that the package includes.

The build imports this module, so it may only depend on the standard library.
"""

import re
import tomllib
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError

FINAL = re.compile(r"\d+\.\d+\.\d+")
# The files of the template. The first releases have no `upgrades.yml`.
PARTS = ("copier.yml", "template", "upgrades.yml")

# So the same template has the same commit on every machine.
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "quickset"), ("EMAIL", "quickset@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
}

_SIGNATURE = b"# v2 git bundle\n"
_TAGS = "refs/tags/v"


def releases(git_dir: Path) -> dict[str, str]:
    """Find the releases: the commits of the first-parent history that set a final version.

    Args:
        git_dir: The project's repository.

    Returns:
        The commits by version, the newest first.

    Raises:
        QuicksetError: The tag of a release is on another commit.
    """
    at = {"GIT_DIR": str(git_dir)}
    log = ("log", "--first-parent", "-m", "--reverse", "--format=%H", "-G^version *=", "--", ":(top)pyproject.toml")
    found: dict[str, str] = {}
    if git.attempt("rev-parse", "--verify", "--quiet", "HEAD", env=at).returncode:
        return found
    before = ""
    for commit in git.run(*log, env=at).split():
        version = version_at(git_dir, commit)
        if version != before and FINAL.fullmatch(version):
            found[version] = commit
        before = version
    tagged = tags(git_dir)
    for version, commit in found.items():
        if (other := tagged.get(f"v{version}", commit)) != commit:
            raise QuicksetError(
                f"the tag v{version} is on {other[:12]}, but {commit[:12]} is the commit that set this version: move "
                f"the tag there (`git tag --force v{version} {commit[:12]}`), or delete it."
            )
    return dict(reversed(found.items()))


def tags(git_dir: Path) -> dict[str, str]:
    """List the tags of a repository.

    Args:
        git_dir: The repository.

    Returns:
        The tagged commits by tag.
    """
    # An annotated tag is listed with a second object, which is the tagged commit.
    fields = "--format=%(refname:strip=2) %(objectname) %(*objectname)"
    listed = git.run("for-each-ref", fields, "refs/tags/", env={"GIT_DIR": str(git_dir)})
    return {name: objects.split()[-1] for name, _, objects in (line.partition(" ") for line in listed.splitlines())}


def version_at(git_dir: Path, commit: str) -> str:
    """Read the project's version.

    Args:
        git_dir: The project's repository.
        commit: The commit.

    Returns:
        The version; `0.0.0.dev0` if there is none.
    """
    shown = git.attempt("show", f"{commit}:pyproject.toml", env={"GIT_DIR": str(git_dir)})
    try:
        return str(tomllib.loads(shown.stdout)["project"]["version"])
    except (tomllib.TOMLDecodeError, KeyError):
        return "0.0.0.dev0"


def unreleased_version(git_dir: Path, commit: str) -> str:
    """Name a version between releases.

    Args:
        git_dir: The project's repository.
        commit: The full name of the commit.

    Returns:
        The version, with the commit as its local part.
    """
    return f"{version_at(git_dir, commit)}+g{commit[:12]}"


def init(folder: Path) -> dict[str, str]:
    """Create an empty bare repository.

    Args:
        folder: The folder to create.

    Returns:
        The variables with which git writes to it, always with the same name and time.
    """
    git.run("init", "--quiet", "--bare", "--object-format=sha1", "--initial-branch=main", str(folder))
    return {"GIT_DIR": str(folder), **IDENTITY}


def share_objects(folder: Path, git_dir: Path) -> None:
    """Let a repository read the objects of another one, which is faster than a copy.

    Args:
        folder: The bare repository.
        git_dir: The other repository.
    """
    objects = git.run("rev-parse", "--path-format=absolute", "--git-path", "objects", env={"GIT_DIR": str(git_dir)})
    (folder / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")


def commit_template(env: dict[str, str], commit: str, tag: str) -> str:
    """Create a commit without parents that has only the template.

    Args:
        env: The variables of the repository to write to, from `init`.
        commit: The commit with the template.
        tag: The name of the version.

    Returns:
        The new commit.
    """
    entries = git.run("ls-tree", commit, *PARTS, env=env)
    return git.run("commit-tree", git.run("mktree", stdin=f"{entries}\n", env=env), "-m", tag, env=env)


def write_bundle(root: Path, bundle: Path) -> None:
    """Write every release to a git bundle. Include HEAD if it is not a release.

    Args:
        root: A checkout of the project.
        bundle: The file to create. A repository is created next to it.

    Raises:
        QuicksetError: There is no git, or the history is not complete.
    """
    git.require()
    found = git.attempt("rev-parse", "--absolute-git-dir", cwd=root)
    git_dir = Path(found.stdout.strip())
    if found.returncode:
        raise QuicksetError(
            f"the releases of the template are in git's history, which cannot be read here: {git.reason(found.stderr)}"
        )
    at = {"GIT_DIR": str(git_dir)}
    if git.run("rev-parse", "--is-shallow-repository", env=at) == "true":
        raise QuicksetError(
            "this clone is shallow, so releases of the template are missing: `git fetch --unshallow --tags` first "
            "(in CI, check out with the full history)."
        )
    head = git.attempt("rev-parse", "--verify", "--quiet", "HEAD^{commit}", env=at).stdout.strip()
    if not head:
        raise QuicksetError("this repository has no commit yet, so there is no template to pack.")
    states = releases(git_dir)
    if head not in states.values():
        states[unreleased_version(git_dir, head)] = head
    env = init(bundle.with_suffix(".git"))
    share_objects(bundle.with_suffix(".git"), git_dir)
    refs = [f"{_TAGS}{version}" for version in states]
    made = [commit_template(env, commit, f"v{version}") for version, commit in states.items()]
    lines = "".join(f"create {ref} {commit}\n" for ref, commit in zip(refs, made, strict=True))
    git.run("update-ref", "--stdin", stdin=lines, env=env)
    # With several threads, the file would differ from run to run.
    git.run("-c", "pack.threads=1", "bundle", "create", "--quiet", "--version=2", str(bundle), *refs, env=env)


def read_bundle(bundle: Path) -> dict[str, str]:
    """List the versions in a bundle. Its header is text, so git is not needed.

    Args:
        bundle: The file.

    Returns:
        The commits by version: the releases, the newest first, then an unreleased version.

    Raises:
        QuicksetError: The file is not a bundle of this project.
    """
    found = {}
    with bundle.open("rb") as file:
        if file.readline() != _SIGNATURE:
            raise QuicksetError("the template in this installation of quickset is damaged; install it again.")
        while (line := file.readline().strip()) and not line.startswith(b"-"):
            commit, _, ref = line.decode().partition(" ")
            found[ref.removeprefix(_TAGS)] = commit
    final = sorted(filter(FINAL.fullmatch, found), key=sort_key, reverse=True)
    return {version: found[version] for version in (*final, *(found.keys() - set(final)))}


def unpack_bundle(bundle: Path, folder: Path) -> None:
    """Create a repository with the commits of a bundle.

    Args:
        bundle: The file.
        folder: The folder to create.

    Raises:
        QuicksetError: The bundle is damaged, or the disk is full.
    """
    git.run("bundle", "unbundle", str(bundle), env=init(folder))


def sort_key(version: str) -> tuple[int, ...]:
    """Return the sort key of a version.

    Args:
        version: A final version, with or without a `v`.

    Returns:
        A key that sorts in the order of PEP 440.
    """
    numbers = [int(part) for part in version.removeprefix("v").split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
