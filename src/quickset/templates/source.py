"""Find a template and its releases: in a checkout, in the installed package, or in a third-party repository."""

import functools
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.templates import history, remote
from quickset.templates.history import FINAL, PARTS
from quickset.templates.remote import Remote
from quickset.templates.template import Template

_BUNDLE = "_template.bundle"
_UNRELEASED = re.compile(r"v?\S+\+g([0-9a-f]{7,40})")
# The name that `git describe`, and so plain Copier, gives to a commit without a tag.
_DESCRIBED = re.compile(r"(?:\S+-\d+-g)?([0-9a-f]{7,40})")
_TAG = re.compile(r"v?\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkout of this project, with the releases in its history. Subclasses find templates elsewhere."""

    root: Path

    def versions(self) -> list[str]:
        """List the releases in the fastest way.

        Returns:
            The versions, the newest first.
        """
        return list(self.releases())

    def releases(self) -> dict[str, str]:
        """Find the releases.

        Returns:
            The commits by version, the newest first.

        Raises:
            QuicksetError: The folder is not a checkout, or a tag contradicts the history.
        """
        return history.releases(self._git_dir())

    def template(self, ref: str | None = None) -> Template:
        """Select one version of the template.

        Args:
            ref: `X.Y.Z` for a release, `HEAD` for the committed tree, or a recorded name. For a third-party template,
                it can also be a branch, a tag or a commit. None selects the newest release.

        Returns:
            The version. Before the first release, None selects HEAD.

        Raises:
            UsageError: There is no such version.
            QuicksetError: There is no commit, or no template.
        """
        releases = {} if ref == "HEAD" else self.releases()
        wanted = ref or next(iter(releases), "HEAD")
        found = self._release(wanted, releases) or self._unreleased(wanted)
        if found is None:
            known = ", ".join(releases) or "none yet"
            raise UsageError(f"there is no release '{wanted}' here (known: {known}; or {self._others()}).")
        return found

    def recorded(self, commit: str) -> Template:
        """Find the version that a service records.

        Args:
            commit: The recorded `_commit`.

        Returns:
            The version.

        Raises:
            RefusedError: The version is not known. The message says what to do.
        """
        releases = self.releases()
        found = self._release(commit, releases)
        if found is None and commit != "HEAD":
            found = self._unreleased(commit)
        if found is None:
            raise RefusedError(self._unknown(commit, list(releases)))
        return found

    def _release(self, name: str, releases: Mapping[str, str]) -> Template | None:
        version = name.removeprefix("v")
        if version not in releases:
            return None
        return self._make(releases[version], f"v{version}", released=True)

    def _unreleased(self, name: str) -> Template | None:
        """Find a version that is not a release."""
        described = _UNRELEASED.fullmatch(name) or _DESCRIBED.fullmatch(name)
        if name != "HEAD" and not described:
            return None
        commit = _resolve(self._git_dir(), described[1] if described else "HEAD")
        if commit:
            return self._make(commit, f"v{history.unreleased_version(self._git_dir(), commit)}", released=False)
        if described:
            return None
        raise QuicksetError("this checkout of quickset has no commit yet, so there is no template to render.")

    def _make(self, commit: str, ref: str, *, released: bool) -> Template:
        notes: tuple[str, ...] = ()
        if git.run("status", "--porcelain", "--", *PARTS, cwd=self.root):
            notes = (f"Uncommitted changes of the template ({', '.join(PARTS)}) are not included.",)
        return Template(repository=self._git_dir(), commit=commit, ref=ref, released=released, notes=notes)

    def _git_dir(self) -> Path:
        return _git_dir(self.root)

    def _others(self) -> str:
        """Describe the versions that exist besides releases."""
        return "HEAD"

    def _unknown(self, commit: str, known: list[str]) -> str:
        """Say what to do about a recorded version that is not known."""
        listed = ", ".join(known) or "none"
        if not FINAL.fullmatch(commit.removeprefix("v")):
            return (
                f"the service was made from {commit}, a version of the template between releases that is not here: "
                "run quickset from a checkout that has this commit."
            )
        if not known or history.sort_key(commit) > history.sort_key(known[0]):
            return (
                f"the service was made from {commit}, which is newer than this quickset (its releases: {listed}): run "
                "the newest quickset instead, `uvx quickset@latest update`."
            )
        return (
            f"the service was made from {commit}, and this quickset knows no such release ({listed}): was {commit} "
            "edited by hand? Set _commit in .copier-answers.yml to the release it really was."
        )


@dataclass(frozen=True, slots=True)
class Bundle(Source):
    """The template in an installed package. `root` is the bundle."""

    def versions(self) -> list[str]:
        """List the releases without git.

        Returns:
            The versions, the newest first.
        """
        return [version for version in self._read_versions() if FINAL.fullmatch(version)]

    def releases(self) -> dict[str, str]:
        """Find the releases without git.

        Returns:
            The commits by version, the newest first.
        """
        return {version: commit for version, commit in self._read_versions().items() if FINAL.fullmatch(version)}

    def _read_versions(self) -> dict[str, str]:
        return history.read_bundle(self.root)

    def _unreleased(self, name: str) -> Template | None:
        versions = self._read_versions()
        between = [version for version in versions if not FINAL.fullmatch(version)]
        version = next(iter([*between, *versions])) if name == "HEAD" else name.removeprefix("v")
        if version not in versions:
            return None
        return self._make(versions[version], f"v{version}", released=version not in between)

    def _make(self, commit: str, ref: str, *, released: bool) -> Template:
        return Template(repository=_unpack(self.root), commit=commit, ref=ref, released=released)


@dataclass(frozen=True, slots=True)
class Clone(Source):
    """A third-party template. `root` is the copy of its repository, which is made when it is needed."""

    remote: Remote

    def versions(self) -> list[str]:
        """List the releases without a copy.

        Returns:
            The versions, the newest first.
        """
        return list(_by_version(remote.tags(self.remote)))

    def releases(self) -> dict[str, str]:
        """Find the releases: the tags that are final versions.

        Returns:
            The commits by version, the newest first, in the order of PEP 440.
        """
        tags = history.tags(self._git_dir())
        return {version: tags[tag] for version, tag in _by_version(tags).items()}

    def _release(self, name: str, releases: Mapping[str, str]) -> Template | None:
        version = name.removeprefix("v")
        if version not in releases:
            return None
        return self._make(releases[version], _by_version(history.tags(self._git_dir()))[version], released=True)

    def _unreleased(self, name: str) -> Template | None:
        git_dir = self._git_dir()
        described = _UNRELEASED.fullmatch(name) or _DESCRIBED.fullmatch(name)
        places = ["HEAD"] if name == "HEAD" else [f"refs/tags/{name}", f"refs/heads/{name}"]
        places += [described[1]] if described else []
        commit = next(filter(None, (_resolve(git_dir, place) for place in places)), "")
        if commit:
            # Plain Copier records the same name.
            options = ("--tags", "--always", "--abbrev=12", "--match=v[0-9]*", "--match=[0-9]*")
            ref = git.run("describe", *options, commit, env={"GIT_DIR": str(git_dir)})
            return self._make(commit, ref, released=_TAG.fullmatch(ref) is not None and ref in history.tags(git_dir))
        if name == "HEAD":
            raise QuicksetError(f"the template at {self.remote.url} has no commit yet.")
        return None

    def _make(self, commit: str, ref: str, *, released: bool) -> Template:
        notes: tuple[str, ...] = ()
        if self.remote.is_local:
            notes = (
                "The template is a folder here: uncommitted changes are not included, and others cannot reach it.",
            )
        return Template(
            repository=self._git_dir(), commit=commit, ref=ref, released=released, url=self.remote.url, notes=notes
        )

    def _git_dir(self) -> Path:
        if not self.root.exists():
            self.remote.clone(self.root)
        return self.root

    def _unknown(self, commit: str, known: list[str]) -> str:
        listed = ", ".join(known) or "none"
        return (
            f"the service was made from {commit}, which the template at {self.remote.url} does not have (its releases: "
            f"{listed}); if the template has moved, give its new location with --template."
        )

    def _others(self) -> str:
        return "HEAD, a branch, a tag or a commit"


def here() -> Source:
    """Find quickset's own template.

    Returns:
        The bundle in the installed package, otherwise the checkout that quickset runs from.

    Raises:
        QuicksetError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    bundle, root = package / _BUNDLE, package.parents[1]
    if bundle.exists():
        return Bundle(bundle)
    if (root / ".git").exists() and all((root / part).exists() for part in ("copier.yml", "template")):
        return Source(root)
    raise QuicksetError("this installation of quickset has no template; install it again.")


def of(src_path: str, *, template: str | None = None) -> Source:
    """Find the template of a service.

    Args:
        src_path: The recorded location.
        template: The current location, if it differs.

    Returns:
        Quickset's own template if the URL is canonical, otherwise the repository at the location.

    Raises:
        UsageError: The location is neither a URL nor a folder.
    """
    url = template or src_path
    if remote.is_canonical(url):
        return here()
    return Clone(remote.process_folder() / f"clone-{secrets.token_hex(4)}.git", remote.parse(url))


@functools.cache
def _unpack(bundle: Path) -> Path:
    """Unpack a bundle once in each process."""
    folder = remote.process_folder() / f"template-{secrets.token_hex(4)}.git"
    history.unpack_bundle(bundle, folder)
    return folder


@functools.cache
def _git_dir(root: Path) -> Path:
    if not (root / ".git").exists():
        # git would find a repository around the folder.
        raise QuicksetError(f"{root} is not a git checkout, so it has no releases of the template.")
    return Path(git.run("rev-parse", "--absolute-git-dir", cwd=root))


def _resolve(git_dir: Path, name: str) -> str:
    """Find the full name of a commit. Return an empty text if there is no such commit."""
    options = ("--verify", "--quiet")
    return git.attempt("rev-parse", *options, f"{name}^{{commit}}", env={"GIT_DIR": str(git_dir)}).stdout.strip()


def _by_version(tags: Iterable[str]) -> dict[str, str]:
    """Select the tags of final versions: the tags by version, the newest first."""
    final = sorted(filter(_TAG.fullmatch, tags), key=lambda tag: (history.sort_key(tag), tag), reverse=True)
    found: dict[str, str] = {}
    for tag in final:
        # If both `v1.2.0` and `1.2.0` exist, the first counts.
        found.setdefault(tag.removeprefix("v"), tag)
    return found
