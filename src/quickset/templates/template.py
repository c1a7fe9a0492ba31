"""One version of a template: its files, its questions, and the repository for Copier."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import yaml

from quickset import git
from quickset.errors import QuicksetError, RefusedError
from quickset.templates import history
from quickset.templates.copier_yml import flatten

# Every service records this URL, for plain Copier and later versions of quickset. It ends in `.git` because Copier
# appends that, and `insteadOf` compares text.
CANONICAL_URL = "https://github.com/quickset/quickset.git"

_CONFIGS = ("copier.yml", "copier.yaml")
_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One version of a template."""

    repository: Path
    """The git directory."""
    commit: str
    """The commit in it."""
    ref: str
    """The recorded name: the tag of a release, or a name that identifies the commit."""
    released: bool
    url: str = CANONICAL_URL
    """The recorded URL, without credentials."""
    notes: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The ref without the `v` of a tag."""
        return self.ref.removeprefix("v")

    @property
    def is_third_party(self) -> bool:
        """Whether it is another template than quickset's own."""
        return self.url != CANONICAL_URL

    def config(self) -> str:
        """Read `copier.yml`.

        Returns:
            The text, with included files.

        Raises:
            QuicksetError: There is no such file.
        """
        return self._config()[1]

    def _config(self) -> tuple[str, str, dict[str, list[str]]]:
        """Return the name of the file, its text with included files, and the files that define each name."""
        for name in _CONFIGS:
            if (text := self.read(name)) is not None:
                return name, *flatten(name, text, self._matching)
        raise QuicksetError(f"{self.url} is not a Copier template: at {self.ref} it has no copier.yml.")

    def _matching(self, pattern: str) -> list[tuple[str, str]]:
        """Read the files that match a pattern from the root. Return their names and texts."""
        names = git.run("ls-tree", "-r", "-z", "--name-only", self.commit, env={"GIT_DIR": str(self.repository)})
        found = [name for name in names.split("\0") if name and PurePosixPath(f"/{name}").match(f"/{pattern}")]
        return [(name, self.read(name) or "") for name in found]

    def for_update(self) -> "Template":
        """Note the code that Copier would run in an update.

        Returns:
            The same template, with a note if it has migrations.
        """
        if not (found := self._code("_migrations")):
            return self
        note = (
            f"The template's migrations ({found}) were not run: quickset runs no code of a template. Read them, and do "
            "by hand what applies."
        )
        return replace(self, notes=(*self.notes, note))

    def _code(self, *names: str) -> str:
        """Describe settings that run code on this machine, and their files. Return an empty text if there are none."""
        if not self.is_third_party:
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
        """Read a file at the root of the template.

        Args:
            name: The name of the file.

        Returns:
            The text; None if there is no such file.
        """
        shown = git.attempt("show", f"{self.commit}:{name}", env={"GIT_DIR": str(self.repository)})
        return None if shown.returncode else shown.stdout

    def write_repository(self, folder: Path) -> None:
        """Create the repository that Copier clones. It has one commit with the template, and one tag.

        Args:
            folder: The folder to create.

        Raises:
            RefusedError: The template refers to files outside of it, or has code to run.
        """
        if found := self._code("_tasks", "_jinja_extensions"):
            raise RefusedError(
                f"the template has code of its own to run on this machine ({found}), and quickset runs none. Use a "
                "release or a fork of the template without that, or run `copier` with --trust. Nothing was touched."
            )
        env = history.init(folder)
        history.share_objects(folder, self.repository)
        if self.is_third_party:
            self._check_reach()
            commit = git.run("commit-tree", f"{self.commit}^{{tree}}", "-m", self.ref, env=env)
        else:
            commit = history.commit_template(env, self.commit, self.ref)
        refs = f"create refs/heads/main {commit}\ncreate refs/tags/{self.ref} {commit}\n"
        git.run("update-ref", "--stdin", stdin=refs, env=env)

    def _check_reach(self) -> None:
        """Refuse submodules, and links to files outside of the template, which Jinja's `include` would follow."""
        env = {"GIT_DIR": str(self.repository)}
        for entry in git.run("ls-tree", "-r", "-z", "--full-tree", self.commit, env=env).split("\0"):
            details, _, name = entry.partition("\t")
            mode, _, blob = details.split() if details else ("", "", "")
            if mode == _SUBMODULE:
                raise RefusedError(f"the template has a submodule, '{name}', and quickset fetches none.")
            if mode == _LINK and _escapes(name, git.attempt("cat-file", "blob", blob, env=env).stdout):
                raise RefusedError(f"the template's symbolic link '{name}' leads out of it; nothing was made.")


def _escapes(name: str, target: str) -> bool:
    """Return whether a link may lead out of its tree.

    If `..` occurs only at the start, the folders are real ones. Other links are checked as well.
    """
    parts = PurePosixPath(target).parts
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return PurePosixPath(target).is_absolute() or ".." in parts[climbs:] or climbs >= len(PurePosixPath(name).parts)
