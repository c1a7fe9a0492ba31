"""Where the template comes from, and which releases it has."""

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
# What `git describe`, and so plain Copier, calls a commit without a tag.
_DESCRIBED = re.compile(r"(?:\S+-\d+-g)?([0-9a-f]{7,40})")
_TAG = re.compile(r"v?\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class Source:
    """A place that holds the template: as such, a checkout of this project; its releases are in its history."""

    root: Path

    def versions(self) -> list[str]:
        """List the releases as cheaply as possible.

        Returns:
            Their versions, newest first.
        """
        return list(self.releases())

    def releases(self) -> dict[str, str]:
        """Find the releases.

        Returns:
            Commit by version, newest first.

        Raises:
            QuicksetError: It is no checkout, or a tag contradicts its history.
        """
        return history.releases(self._git_dir())

    def template(self, ref: str | None = None) -> Template:
        """Pick one state of the template.

        Args:
            ref: `X.Y.Z` for that release, `HEAD` for the committed tree, or what a service recorded. For a template of
                other people, it can also be a branch, a tag or a commit. None for the newest release.

        Returns:
            The state; before the first release, None gives what HEAD gives.

        Raises:
            UsageError: There is no such state here.
            QuicksetError: There is no commit or no template.
        """
        releases = {} if ref == "HEAD" else self.releases()
        wanted = ref or next(iter(releases), "HEAD")
        found = self._release(wanted, releases) or self._state(wanted)
        if found is None:
            known = ", ".join(releases) or "none yet"
            raise UsageError(f"there is no release '{wanted}' here (known: {known}; or {self._others()}).")
        return found

    def recorded(self, commit: str) -> Template:
        """Find the state that a service was made from.

        Args:
            commit: What it recorded as `_commit`.

        Returns:
            The state.

        Raises:
            RefusedError: It is not known here; the message says who knows it.
        """
        releases = self.releases()
        found = self._release(commit, releases)
        if found is None and commit != "HEAD":
            found = self._state(commit)
        if found is None:
            raise RefusedError(self._unknown(commit, list(releases)))
        return found

    def _release(self, name: str, releases: Mapping[str, str]) -> Template | None:
        version = name.removeprefix("v")
        if version not in releases:
            return None
        return self._make(releases[version], f"v{version}", released=True)

    def _state(self, name: str) -> Template | None:
        """Find a state that is no release."""
        described = _UNRELEASED.fullmatch(name) or _DESCRIBED.fullmatch(name)
        if name != "HEAD" and not described:
            return None
        commit = _resolve(self._git_dir(), described[1] if described else "HEAD")
        if commit:
            return self._make(commit, f"v{history.unreleased(self._git_dir(), commit)}", released=False)
        if described:
            return None
        raise QuicksetError("this checkout of quickset has no commit yet, so there is no template to render.")

    def _make(self, commit: str, ref: str, *, released: bool) -> Template:
        notes: tuple[str, ...] = ()
        if git.run("status", "--porcelain", "--", *PARTS, cwd=self.root):
            notes = (f"Uncommitted changes of the template ({', '.join(PARTS)}) are not in.",)
        return Template(repository=self._git_dir(), commit=commit, ref=ref, released=released, notes=notes)

    def _git_dir(self) -> Path:
        return _git_dir(self.root)

    def _others(self) -> str:
        """Describe the states that exist besides releases."""
        return "HEAD"

    def _unknown(self, commit: str, known: list[str]) -> str:
        """Say what to do about a recorded state that is not here."""
        listed = ", ".join(known) or "none"
        if not FINAL.fullmatch(commit.removeprefix("v")):
            return (
                f"the service was made from {commit}, a state of the template between releases that is not here: "
                "run the quickset of a checkout that holds this commit."
            )
        if not known or history.order(commit) > history.order(known[0]):
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
    """What the installed package brings along; `root` is the file."""

    def versions(self) -> list[str]:
        """List the releases without git.

        Returns:
            Their versions, newest first.
        """
        return [version for version in self._states() if FINAL.fullmatch(version)]

    def releases(self) -> dict[str, str]:
        """Find the releases without git.

        Returns:
            Commit by version, newest first.
        """
        return {version: commit for version, commit in self._states().items() if FINAL.fullmatch(version)}

    def _states(self) -> dict[str, str]:
        return history.read_bundle(self.root)

    def _state(self, name: str) -> Template | None:
        states = self._states()
        between = [version for version in states if not FINAL.fullmatch(version)]
        version = next(iter([*between, *states])) if name == "HEAD" else name.removeprefix("v")
        if version not in states:
            return None
        return self._make(states[version], f"v{version}", released=version not in between)

    def _make(self, commit: str, ref: str, *, released: bool) -> Template:
        return Template(repository=_unpack(self.root), commit=commit, ref=ref, released=released)


@dataclass(frozen=True, slots=True)
class Clone(Source):
    """A template of other people; `root` is the copy of its repository, made when it is needed."""

    remote: Remote

    def versions(self) -> list[str]:
        """List the releases without copying them.

        Returns:
            Their versions, newest first.
        """
        return list(_by_version(remote.tags(self.remote)))

    def releases(self) -> dict[str, str]:
        """Find the releases: the tags that are final versions.

        Returns:
            Commit by version, newest first, as PEP 440 has it.
        """
        tags = history.tags(self._git_dir())
        return {version: tags[tag] for version, tag in _by_version(tags).items()}

    def _release(self, name: str, releases: Mapping[str, str]) -> Template | None:
        version = name.removeprefix("v")
        if version not in releases:
            return None
        return self._make(releases[version], _by_version(history.tags(self._git_dir()))[version], released=True)

    def _state(self, name: str) -> Template | None:
        git_dir = self._git_dir()
        described = _UNRELEASED.fullmatch(name) or _DESCRIBED.fullmatch(name)
        places = ["HEAD"] if name == "HEAD" else [f"refs/tags/{name}", f"refs/heads/{name}"]
        places += [described[1]] if described else []
        commit = next(filter(None, (_resolve(git_dir, place) for place in places)), "")
        if commit:
            # As plain Copier records it.
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
                "The template is a folder here: what is not committed in it is not in, and others cannot reach it.",
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
            f"the service was made from {commit}, which the template at {self.remote.url} does not hold (its releases: "
            f"{listed}); if the template has moved, give its new place with --template."
        )

    def _others(self) -> str:
        return "HEAD, a branch, a tag or a commit"


def here() -> Source:
    """Find the template that belongs to this quickset.

    Returns:
        What its package brought along, else the checkout it runs from.

    Raises:
        QuicksetError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    bundle, root = package / _BUNDLE, package.parents[1]
    if bundle.exists():
        return Bundle(bundle)
    if (root / ".git").exists() and all((root / part).exists() for part in ("copier.yml", "template")):
        return Source(root)
    raise QuicksetError("this installation of quickset holds no template; install it again.")


def of(src_path: str, *, template: str | None = None) -> Source:
    """Find where a service's template comes from.

    Args:
        src_path: What the service recorded.
        template: Where it is now, if elsewhere.

    Returns:
        What belongs to this quickset when the URL is its own, else the repository there.

    Raises:
        UsageError: It is no URL and no folder.
    """
    url = template or src_path
    if remote.is_canonical(url):
        return here()
    return Clone(remote.scratch() / f"clone-{secrets.token_hex(4)}.git", remote.parse(url))


@functools.cache
def _unpack(bundle: Path) -> Path:
    """Unpack a bundle, once per process."""
    folder = remote.scratch() / f"template-{secrets.token_hex(4)}.git"
    history.unpack_bundle(bundle, folder)
    return folder


@functools.cache
def _git_dir(root: Path) -> Path:
    if not (root / ".git").exists():
        # It would else be that of a repository around it.
        raise QuicksetError(f"{root} is no git checkout, so it holds no releases of the template.")
    return Path(git.run("rev-parse", "--absolute-git-dir", cwd=root))


def _resolve(git_dir: Path, name: str) -> str:
    """Find a commit's full name; empty when it is not here."""
    options = ("--verify", "--quiet")
    return git.attempt("rev-parse", *options, f"{name}^{{commit}}", env={"GIT_DIR": str(git_dir)}).stdout.strip()


def _by_version(tags: Iterable[str]) -> dict[str, str]:
    """Pick the tags that are final versions: the tag by version, newest first."""
    final = sorted(filter(_TAG.fullmatch, tags), key=lambda tag: (history.order(tag), tag), reverse=True)
    found: dict[str, str] = {}
    for tag in final:
        # Where both `v1.2.0` and `1.2.0` are there, the first counts.
        found.setdefault(tag.removeprefix("v"), tag)
    return found
