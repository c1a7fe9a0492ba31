"""One state of a template: its files, its configuration, and the repository that Copier renders."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import yaml

from quickset import git
from quickset.errors import QuicksetError, RefusedError
from quickset.templates import history
from quickset.templates.config import flatten

# Recorded in every service, and what plain Copier and a later quickset look for. It ends in `.git` because Copier
# appends that, and `insteadOf` compares text.
CANONICAL_URL = "https://github.com/quickset/quickset.git"

_CONFIGS = ("copier.yml", "copier.yaml")

_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One state of the template."""

    repository: Path
    """The git directory that holds it."""
    commit: str
    """Where in that."""
    ref: str
    """The name under which it is recorded: a release's tag, or what finds the commit again."""
    released: bool
    url: str = CANONICAL_URL
    """The address that is recorded; it never holds credentials."""
    notes: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Its version: the ref, less the `v` of a tag."""
        return self.ref.removeprefix("v")

    @property
    def is_foreign(self) -> bool:
        """Whether it is another than quickset's own."""
        return self.url != CANONICAL_URL

    def config(self) -> str:
        """Read its `copier.yml`.

        Returns:
            The text, with what it includes.

        Raises:
            QuicksetError: There is none.
        """
        return self._config()[1]

    def _config(self) -> tuple[str, str, dict[str, list[str]]]:
        """Read the file's name, its text with what it includes, and the files in which each name stands."""
        for name in _CONFIGS:
            if (text := self.read(name)) is not None:
                return name, *flatten(name, text, self._matching)
        raise QuicksetError(f"{self.url} is no Copier template: at {self.ref} it holds no copier.yml.")

    def _matching(self, pattern: str) -> list[tuple[str, str]]:
        """Read the files that a pattern names, relative to the root; return their names and texts."""
        names = git.run("ls-tree", "-r", "-z", "--name-only", self.commit, env={"GIT_DIR": str(self.repository)})
        found = [name for name in names.split("\0") if name and PurePosixPath(f"/{name}").match(f"/{pattern}")]
        return [(name, self.read(name) or "") for name in found]

    def for_update(self) -> "Template":
        """Note what Copier would run in an update.

        Returns:
            The same, with a note where there are migrations.
        """
        if not (found := self._code("_migrations")):
            return self
        note = (
            f"The template's migrations ({found}) were not run: quickset runs no code of a template. Read them, and do "
            "by hand what applies."
        )
        return replace(self, notes=(*self.notes, note))

    def _code(self, *names: str) -> str:
        """Say which of some settings run code on this machine, and in which files; empty when none does."""
        if not self.is_foreign:
            return ""
        file, text, places = self._config()
        try:
            settings = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            # The error is reported when the questions are read.
            return ""
        found: dict[str, list[str]] = {}
        for name in names:
            if isinstance(settings, dict) and settings.get(name):
                found.setdefault(" and ".join(places.get(name, [file])), []).append(name)
        return ", ".join(f"{' and '.join(keys)} in {where}" for where, keys in found.items())

    def read(self, name: str) -> str | None:
        """Read a file of its root.

        Args:
            name: The file.

        Returns:
            The text; None when there is no such file.
        """
        shown = git.attempt("show", f"{self.commit}:{name}", env={"GIT_DIR": str(self.repository)})
        return None if shown.returncode else shown.stdout

    def write_repository(self, folder: Path) -> None:
        """Make the repository that Copier clones: one commit, one tag, nothing but the template.

        Args:
            folder: Where; it must not exist.

        Raises:
            RefusedError: It reaches outside itself, or wants to run code.
        """
        if found := self._code("_tasks", "_jinja_extensions"):
            raise RefusedError(
                f"the template has code of its own to run on this machine ({found}), and quickset runs none. Use a "
                "release or a fork of the template without that, or run `copier` with --trust. Nothing was touched."
            )
        env = history.init(folder)
        history.borrow(folder, self.repository)
        if self.is_foreign:
            self._check_reach()
            commit = git.run("commit-tree", f"{self.commit}^{{tree}}", "-m", self.ref, env=env)
        else:
            commit = history.commit_template(env, self.commit, self.ref)
        refs = f"create refs/heads/main {commit}\ncreate refs/tags/{self.ref} {commit}\n"
        git.run("update-ref", "--stdin", stdin=refs, env=env)

    def _check_reach(self) -> None:
        """Refuse what would make git or Copier read from elsewhere: Jinja's `include` follows any link."""
        env = {"GIT_DIR": str(self.repository)}
        for entry in git.run("ls-tree", "-r", "-z", "--full-tree", self.commit, env=env).split("\0"):
            details, _, name = entry.partition("\t")
            mode, _, blob = details.split() if details else ("", "", "")
            if mode == _SUBMODULE:
                raise RefusedError(f"the template holds a submodule, '{name}', and quickset fetches none.")
            if mode == _LINK and _escapes(name, git.attempt("cat-file", "blob", blob, env=env).stdout):
                raise RefusedError(f"the template's symbolic link '{name}' leads out of it; nothing was made.")


def _escapes(name: str, target: str) -> bool:
    """Return whether a link may lead out of the tree that holds it.

    Where `..` stands only in front, the folders it climbs are real ones, and the other links are looked at as well.
    """
    parts = PurePosixPath(target).parts
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return PurePosixPath(target).is_absolute() or ".." in parts[climbs:] or climbs >= len(PurePosixPath(name).parts)
