"""The user's repository: the service in it, the committed files, the index and uncommitted changes."""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quickset import git
from quickset.errors import ConflictError, RefusedError, UsageError
from quickset.signals import temporary_folder
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.updating.tree import Entry, parse_tree

_GIT_NEEDED = (2, 38)  # the first with `git merge-tree --write-tree`
_SHOWN = 5  # paths in a message
_UNDER_WAY = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree and the service in it."""

    top: Path
    git_dir: Path
    """The git directory of this work tree. A linked work tree has its own."""
    prefix: str
    """The service's folder from the top: empty, or with a slash at the end."""
    head: str
    answers_file: str = ANSWERS_FILE
    """The path of the answers file from the service's folder."""

    @classmethod
    def around(cls, service: Path, answers_file: str = ANSWERS_FILE) -> "Repository":
        """Find the repository of a service.

        Args:
            service: The service's folder.
            answers_file: The path of its answers file.

        Returns:
            The repository.

        Raises:
            UsageError: The folder does not exist.
            RefusedError: An update cannot work here. The message says why, and what to do.
        """
        git.require()
        _require_version()
        if not service.is_dir():
            raise UsageError(f"{service} is not a folder.")
        # One at a time, because a path may contain a line break.
        done = [
            git.attempt("rev-parse", option, cwd=service)
            for option in ("--show-toplevel", "--absolute-git-dir", "--show-prefix")
        ]
        if failed := next((each for each in done if each.returncode), None):
            reason = git.reason(failed.stderr)
            if "not a git repository" in reason:
                reason = "it is in no git repository; make one (git init, git add, git commit)"
            elif "must be run in a work tree" in reason:
                reason = "its repository is bare; use a clone that has a work tree"
            raise RefusedError(f"{service}: {reason.rstrip('.')}. Nothing was touched.")
        top, git_dir, prefix = (each.stdout.removesuffix("\n") for each in done)
        head = git.attempt("rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=service).stdout.strip()
        if not head:
            raise RefusedError(
                f"{service}: the repository has no commit yet, so edits cannot be detected; commit the service first."
            )
        return cls(Path(top), Path(git_dir), prefix, head, answers_file)

    @property
    def service(self) -> Path:
        """The service's folder."""
        return self.top / self.prefix

    @property
    def index(self) -> Path:
        """The index of this work tree."""
        return self.git_dir / "index"

    @property
    def state(self) -> Path:
        """The folder in which quickset keeps the journal of an unfinished update."""
        return self.git_dir / "quickset"

    def git(self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run git at the top of the work tree, with the user's settings.

        Args:
            *args: The arguments.
            stdin: The standard input.
            env: Additional variables.

        Returns:
            The standard output.
        """
        return git.run(*args, cwd=self.top, stdin=stdin, env=env, user_settings=True)

    def objects(self) -> Path:
        """Find the folder of the repository's objects.

        Returns:
            The path.
        """
        return (self.top / self.git("rev-parse", "--git-path", "objects")).resolve()

    def require_quiet(self) -> None:
        """Refuse to start while another operation of git is in progress.

        Raises:
            RefusedError: A merge, a rebase or the like is in progress, or paths are unmerged.
        """
        for name, what in _UNDER_WAY.items():
            if (self.git_dir / name).exists():
                raise RefusedError(f"{what} is in progress in {self.top}; finish or abort it first.")
        if unmerged := self.unmerged():
            raise RefusedError(f"unmerged: {_some(unmerged)}; resolve and commit that first.")

    def require_no_commit(self) -> None:
        """Refuse to run in a hook of `git commit`, whose commit would include the staged changes.

        Raises:
            RefusedError: git is committing in this work tree.
        """
        index = os.environ.get("GIT_INDEX_FILE")
        if not index:
            return
        # git runs a hook at the top of its work tree, and a relative path starts there.
        top = git.attempt("rev-parse", "--show-toplevel").stdout.removesuffix("\n")
        if Path(top, index).resolve().parent == self.git_dir.resolve():
            raise RefusedError(
                f"a hook of `git commit` runs in {self.top} (GIT_INDEX_FILE is set), and the changes would become part "
                "of that commit. Run the command outside of the hook, or update with --branch. Nothing was touched."
            )

    def unmerged(self, paths: Iterable[str] = ()) -> list[str]:
        """Find the unmerged paths.

        Args:
            paths: The paths to look at, from the top. By default, all.

        Returns:
            The paths, from the top.
        """
        listed = self.git("ls-files", "--unmerged", "-z", "--full-name")
        found = {line.split("\t", 1)[1] for line in listed.split("\0") if line}
        wanted = set(paths)
        return sorted(path for path in found if not wanted or path in wanted)

    def require_merged(self, paths: Iterable[str]) -> None:
        """Refuse to continue while paths are unmerged.

        Args:
            paths: The paths that matter, from the top.

        Raises:
            ConflictError: Some of them are unmerged.
        """
        if unmerged := self.unmerged(paths):
            raise ConflictError(f"unmerged: {_some(unmerged)}; resolve, `git add`, and run this again.")

    def tree(self) -> dict[str, Entry]:
        """Read the committed files of the service.

        Returns:
            The entries by path from the service's folder.

        Raises:
            RefusedError: The service is not committed.
        """
        found = self.tree_of(self.head)
        if not found:
            raise RefusedError(f"{self.service} is not committed; commit the service first.")
        return found

    def tree_of(self, commit: str) -> dict[str, Entry]:
        """Read the files of the service in a commit.

        Args:
            commit: The commit.

        Returns:
            The entries by path from the service's folder. Empty if the commit has no such folder.
        """
        name = f"{commit}:{self.prefix.rstrip('/')}" if self.prefix else f"{commit}^{{tree}}"
        return parse_tree(git.attempt("ls-tree", "-r", "-z", "--full-tree", name, cwd=self.top).stdout)

    def is_shallow(self) -> bool:
        """Return whether the history is cut off, as after `git clone --depth`.

        Returns:
            Whether the clone is shallow.
        """
        return self.git("rev-parse", "--is-shallow-repository") == "true"

    def committed(self, path: str) -> bytes | None:
        """Read a committed file, which may be outside the service.

        Args:
            path: The path from the top.

        Returns:
            The contents; None if there is no such file.
        """
        done = git.attempt("cat-file", "blob", f"{self.head}:{path}", cwd=self.top)
        return None if done.returncode else done.stdout.encode(errors="surrogateescape")

    def fetch(self, oids: Iterable[str]) -> None:
        """Fetch the objects that a partial clone lacks, all at once.

        Args:
            oids: The object names.

        Raises:
            GitError: They cannot be fetched.
        """
        listed = git.attempt("config", "--null", "--get-regexp", r"^remote\..*\.promisor$", cwd=self.top).stdout
        keys = [setting.split("\n")[0] for setting in listed.split("\0") if setting.endswith("\ntrue")]
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none")
        for key in keys:
            remote = key.removeprefix("remote.").removesuffix(".promisor")
            git.run(
                *("fetch", *options, "--stdin", remote),
                cwd=self.top,
                stdin="".join(f"{oid}\n" for oid in oids),
                # git uses this setting itself when it fetches a missing object.
                config={"fetch.negotiationAlgorithm": "noop"},
                user_settings=True,
            )

    def as_on_disk(self, entry: Entry, path: str) -> str:
        """Read a blob in the form of the work tree, because a filter may store something else than text.

        Args:
            entry: The blob.
            path: The path from the top.

        Returns:
            The content.
        """
        return git.attempt(
            "cat-file", "--filters", f"--path={path}", entry.oid, cwd=self.top, user_settings=True
        ).stdout

    def oid_of(self, path: str) -> str:
        """Compute the object name of a file in the work tree.

        Args:
            path: The path from the top.

        Returns:
            The object name; empty if the file cannot be read.
        """
        return git.attempt("hash-object", "--", path, cwd=self.top, user_settings=True).stdout.strip()

    def ignored(self, paths: Iterable[str]) -> dict[str, str]:
        """Find the paths that git ignores.

        Args:
            paths: The paths from the service's folder.

        Returns:
            The pattern that ignores each path, with its file and line.
        """
        wanted = [f"./{path}" for path in paths]
        if not wanted:
            return {}
        listed = self._check_ignore(wanted)
        if listed is None:
            # git rejects all paths if one is behind a link. That one is in the way, and not ignored.
            return {path: why for each in wanted for path, why in (self._check_ignore([each]) or {}).items()}
        return listed

    def _check_ignore(self, paths: list[str]) -> dict[str, str] | None:
        stdin = "".join(f"{path}\0" for path in paths)
        options = ("--no-index", "--verbose", "-z", "--stdin")
        done = git.attempt("check-ignore", *options, cwd=self.service, stdin=stdin, user_settings=True)
        if done.returncode not in (0, 1):
            return None
        words = iter(done.stdout.split("\0"))
        return {
            path.removeprefix("./"): f"{file}:{line} ({pattern})"
            for file, line, pattern, path in zip(words, words, words, words, strict=False)
            # git also lists patterns that include a path again.
            if not pattern.startswith("!")
        }

    def staged(self, paths: Iterable[str], *, resolved: bool = False) -> dict[str, dict[int, Entry]]:
        """Read entries of the index.

        Args:
            paths: The paths from the top.
            resolved: Read the sides of conflicts that were resolved since the last checkout or reset.

        Returns:
            The entries by path and stage.
        """
        wanted = sorted(paths)
        if not wanted:
            return {}
        kind = "--resolve-undo" if resolved else "--stage"
        listed = self.git("ls-files", kind, "-z", "--full-name", "--", *wanted, env={"GIT_LITERAL_PATHSPECS": "1"})
        found: dict[str, dict[int, Entry]] = {}
        for line in listed.split("\0"):
            if line:
                meta, path = line.split("\t", 1)
                mode, oid, stage = meta.split(" ")
                found.setdefault(path, {})[int(stage)] = Entry(mode, oid)
        return found

    def flags(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """Read the flags that the user set in the index.

        Args:
            paths: The paths from the top.

        Returns:
            `skip-worktree`, as in a sparse checkout, and `assume-unchanged`, by path.
        """
        wanted = sorted(paths)
        if not wanted:
            return {}
        listed = self.git("ls-files", "-v", "-z", "--full-name", "--", *wanted, env={"GIT_LITERAL_PATHSPECS": "1"})
        found: dict[str, list[str]] = {}
        for line in filter(None, listed.split("\0")):
            tag, path = line[0], line[2:]
            set_here = {"skip-worktree": tag in "Ss", "assume-unchanged": tag.islower()}
            found[path] = [flag for flag, is_set in set_here.items() if is_set]
        return found

    def refresh(self, env: Mapping[str, str]) -> None:
        """Update the times of files in an index.

        Args:
            env: The variable that names the index.
        """
        git.attempt("update-index", "-q", "--unmerged", "--refresh", cwd=self.top, env=env, user_settings=True)

    def touched(self, paths: Iterable[str]) -> list[str]:
        """Find the paths that have uncommitted changes.

        Args:
            paths: The paths that an update would change, from the service's folder.

        Returns:
            Those with staged or unstaged changes, and those where an untracked file or folder is in the way.
        """
        wanted = {self.prefix + path for path in paths}
        if not wanted:
            return []
        only = {"GIT_LITERAL_PATHSPECS": "1"}
        options = ("--no-renames", "--name-only", "-z", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")
        changed = set()
        with temporary_folder() as folder:
            # `git diff` writes new times of files to the index, whatever GIT_OPTIONAL_LOCKS says, and a kill would
            # leave the index locked. So it gets a copy.
            copy = Path(folder, "index")
            with suppress(FileNotFoundError):
                shutil.copyfile(self.index, copy)
            ours = only | {"GIT_INDEX_FILE": str(copy)}
            for command in (("diff-index", "--cached", *options, self.head), ("diff", *options)):
                changed |= set(self.git(*command, "--", *sorted(wanted), env=ours).split("\0"))
        tracked = set(self.git("ls-files", "-z", "--full-name", "--", *sorted(wanted), env=only).split("\0"))
        found = wanted & changed
        found |= {path for path in wanted - tracked if self._blocked(path, tracked)}
        return sorted(path.removeprefix(self.prefix) for path in found)

    def _blocked(self, path: str, tracked: set[str]) -> bool:
        """Return whether something untracked is in the way of a file. Tracked files are part of the merge."""
        target = self.top / path
        if target.is_dir() and not target.is_symlink():
            files = (file for file in target.rglob("*") if file.is_symlink() or not file.is_dir())
            return any(file.relative_to(self.top).as_posix() not in tracked for file in files)
        if target.is_symlink() or target.exists():
            return True
        ways = [self.top / parent for parent in PurePosixPath(path).parents if str(parent) != "."]
        return any(
            (way.is_symlink() or (way.exists() and not way.is_dir()))
            and way.relative_to(self.top).as_posix() not in tracked
            for way in ways
        )


def _require_version() -> None:
    words = git.run("version").split()
    numbers = tuple(int(part) for part in words[2].split(".")[:2] if part.isdigit())
    if numbers < _GIT_NEEDED:
        needed = ".".join(map(str, _GIT_NEEDED))
        raise RefusedError(f"git {words[2]} is too old for a three-way merge of trees; {needed} or newer is needed.")


def _some(paths: list[str]) -> str:
    shown, more = ", ".join(paths[:_SHOWN]), len(paths) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def require_committed(paths: list[str], why: str = "") -> None:
    """Refuse to change files that hold uncommitted changes.

    Args:
        paths: The files with such changes.
        why: A sentence to add to the message.

    Raises:
        RefusedError: There are such files.
    """
    if not paths:
        return
    raise RefusedError(
        f"not committed: {', '.join(paths)}. The update would change the same files: commit, stash or move your "
        f"changes first. Nothing was touched.{why}"
    )
