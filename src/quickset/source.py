"""Where the template comes from, and which releases it has."""

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError, RefusedError, UsageError

# Recorded in every service, and what plain Copier and a later quickset look for. It ends in `.git` because Copier
# appends that, and `insteadOf` compares text.
CANONICAL_URL = "https://github.com/quickset/quickset.git"

_FINAL = re.compile(r"\d+\.\d+\.\d+")
_UNRELEASED = re.compile(r"v?\S+\+g([0-9a-f]{7,40})")
_PARTS = ("copier.yml", "template")
# The same template makes the same commit on every machine.
_IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "quickset"), ("EMAIL", "quickset@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
}


@dataclass(frozen=True, slots=True)
class Template:
    """One state of the template."""

    root: Path
    commit: str | None
    """The commit of the checkout that holds it; None when `root` itself does."""
    version: str
    released: bool
    notes: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """The tag under which it is recorded."""
        return f"v{self.version}"

    def config(self) -> str:
        """Read its `copier.yml`.

        Returns:
            The text.
        """
        if self.commit:
            return git.run("show", f"{self.commit}:copier.yml", cwd=self.root)
        return (self.root / "copier.yml").read_text(encoding="utf-8")

    def read(self, name: str) -> str | None:
        """Read another file of its root.

        Args:
            name: The file.

        Returns:
            The text; None when there is no such file.
        """
        if self.commit:
            shown = git.attempt("show", f"{self.commit}:{name}", cwd=self.root)
            return None if shown.returncode else shown.stdout
        file = self.root / name
        return file.read_text(encoding="utf-8") if file.exists() else None

    def write_repository(self, folder: Path) -> None:
        """Make the repository that Copier clones: one commit, one tag, nothing but the template.

        Args:
            folder: Where; it must not exist.
        """
        git.run("init", "--quiet", "--bare", "--initial-branch=main", str(folder))
        env = {"GIT_DIR": str(folder), **_IDENTITY}
        if self.commit:
            # The objects stay where they are: naming their place is faster than copying them.
            objects = Path(git.run("rev-parse", "--git-path", "objects", cwd=self.root))
            alternates = folder / "objects" / "info" / "alternates"
            alternates.write_text(f"{(self.root / objects).resolve()}\n", encoding="utf-8")
            entries = git.run("ls-tree", self.commit, *_PARTS, cwd=self.root)
            tree = git.run("mktree", stdin=entries + "\n", env=env)
        else:
            work = {**env, "GIT_WORK_TREE": str(self.root)}
            git.run("add", "--force", "--all", "--", *_PARTS, ":(exclude)**/__pycache__", cwd=self.root, env=work)
            tree = git.run("write-tree", env=env)
        commit = git.run("commit-tree", tree, "-m", self.ref, env=env)
        refs = f"create refs/heads/main {commit}\ncreate refs/tags/{self.ref} {commit}\n"
        git.run("update-ref", "--stdin", stdin=refs, env=env)


@dataclass(frozen=True, slots=True)
class Source:
    """A place that holds the template: a checkout of this project, or the installed package."""

    root: Path

    @property
    def is_checkout(self) -> bool:
        """Whether it is a git checkout; a folder unpacked inside somebody else's repository is none."""
        return (self.root / ".git").exists()

    def template(self, ref: str | None = None) -> Template:
        """Pick one state of the template.

        Args:
            ref: `HEAD` for the committed tree, `X.Y.Z` for that release, what a service recorded (a release's tag, or
                the version of an unreleased state), None for the newest release.

        Returns:
            The state; before the first release, None gives what HEAD gives.

        Raises:
            UsageError: There is no such release here.
            QuicksetError: The checkout has no commit or no template.
        """
        if not self.is_checkout:
            return self._packaged(ref)
        head = self._resolve("HEAD")
        if not head:
            raise QuicksetError("this checkout of quickset has no commit yet, so there is no template to render.")
        releases = {} if ref == "HEAD" else self.releases()
        ref = ref or next(iter(releases), "HEAD")
        unreleased = _UNRELEASED.fullmatch(ref)
        notes = self._uncommitted()
        if ref == "HEAD" or unreleased:
            commit = self._resolve(unreleased[1]) if unreleased else head
            if not commit:
                raise UsageError(f"--ref: this checkout of quickset does not hold '{ref}'.")
            version = f"{self._version_at(commit)}+g{commit}"
            return Template(self.root, commit, version, released=False, notes=notes)
        version = ref.removeprefix("v")
        if version not in releases:
            known = ", ".join(releases) or "none yet"
            raise UsageError(f"--ref: there is no release '{ref}' here (known: {known}; or HEAD).")
        return Template(self.root, releases[version], version, released=True, notes=notes)

    def recorded(self, commit: str) -> Template:
        """Find what a service recorded.

        Args:
            commit: Its `_commit`.

        Returns:
            The state of the template.

        Raises:
            RefusedError: It is not known here.
        """
        try:
            return self.template(commit)
        except UsageError:
            raise RefusedError(f"this quickset does not know {commit}; try `uvx quickset@latest update`.") from None

    def releases(self) -> dict[str, str]:
        """Find the releases: the commits of the first-parent history that set a final version.

        Returns:
            Commit by version, newest first.
        """
        log = ("log", "--first-parent", "-m", "--reverse", "--format=%H", "-G^version *=", "--", "pyproject.toml")
        commits = git.run(*log, cwd=self.root).split()
        found: dict[str, str] = {}
        before = ""
        for commit in commits:
            version = self._version_at(commit)
            if version != before and _FINAL.fullmatch(version):
                found[version] = commit
            before = version
        return dict(reversed(found.items()))

    def _packaged(self, ref: str | None) -> Template:
        version = installed_version("quickset")
        if ref not in (None, version, f"v{version}"):
            raise UsageError(f"--ref: only {version} is here; another needs a checkout of quickset.")
        return Template(self.root, None, version, released=_FINAL.fullmatch(version) is not None)

    def _resolve(self, name: str) -> str:
        """Shorten a commit's name; empty when it is not here."""
        options = ("--verify", "--quiet", "--short=12")
        return git.attempt("rev-parse", *options, f"{name}^{{commit}}", cwd=self.root).stdout.strip()

    def _version_at(self, commit: str) -> str:
        shown = git.attempt("show", f"{commit}:pyproject.toml", cwd=self.root)
        try:
            return str(tomllib.loads(shown.stdout)["project"]["version"])
        except (tomllib.TOMLDecodeError, KeyError):
            return "0.0.0.dev0"

    def _uncommitted(self) -> tuple[str, ...]:
        if git.run("status", "--porcelain", "--", *_PARTS, cwd=self.root):
            return ("Uncommitted changes of the template (copier.yml, template/) are not in.",)
        return ()


def of(src_path: str, *, template: str | None = None) -> Source:  # noqa: ARG001
    """Find where a service's template comes from.

    Args:
        src_path: What the service recorded.
        template: Where it is now, if elsewhere.

    Returns:
        The place.
    """
    return here()


def here() -> Source:
    """Find the template that belongs to this quickset.

    Returns:
        The checkout it runs from, else what its wheel brought along.

    Raises:
        QuicksetError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_template", package.parents[1]):
        if all((root / part).exists() for part in _PARTS):
            return Source(root)
    raise QuicksetError("this installation of quickset holds no template; install it again.")
