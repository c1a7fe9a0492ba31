"""The folder of a new service, which is filled completely or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError, RefusedError, os_reason
from quickset.signals import temporary_folder, uninterrupted


@dataclass(frozen=True, slots=True)
class Target:
    """The folder for a new service."""

    path: Path
    exists: bool
    git_dir: Path | None
    """The `.git` folder of an empty repository that exists there."""

    @classmethod
    def at(cls, path: Path) -> "Target":
        """Inspect a path.

        Args:
            path: The path as given.

        Returns:
            The target.

        Raises:
            RefusedError: The folder is not empty, or it is a file.
            QuicksetError: The path cannot be read.
        """
        try:
            found = path.resolve()
            if not os.path.lexists(found):
                blocked = next(parent for parent in found.parents if os.path.lexists(parent))
                if not blocked.is_dir():
                    raise RefusedError(f"{blocked} is a file, so no folder can be made in it.")
                return cls(found, exists=False, git_dir=None)
            if not found.is_dir():
                raise RefusedError(f"{path} is a file; give a new or an empty folder.")
            entries = os.listdir(found)  # noqa: PTH208 -- the names are wanted, not paths
        except RuntimeError as error:
            raise QuicksetError(f"{path} is a symbolic link to itself.") from error
        except OSError as error:
            raise QuicksetError(os_reason(error)) from error
        if not entries:
            return cls(found, exists=True, git_dir=None)
        if entries != [".git"]:
            raise RefusedError(f"{path} is not empty; give a new or an empty folder.")
        return cls(found, exists=True, git_dir=_unborn(found))

    @contextmanager
    def staging(self, *, dry_run: bool = False) -> Iterator[Path]:
        """Provide the path of a temporary folder on the same disk. It is removed in the end.

        Args:
            dry_run: Provide a path among the temporary files instead.

        Yields:
            The path, which has the name of the target. The folder does not exist yet.

        Raises:
            QuicksetError: The disk cannot be written to.
        """
        if dry_run:
            with temporary_folder() as folder:
                yield Path(folder, self.path.name)
            return
        # The parent of an existing target may be on another disk, or not writable.
        nearby = self.path if self.exists else self.path.parent
        made = [parent for parent in (nearby, *nearby.parents) if not parent.exists()]
        work = nearby / f".quickset-{secrets.token_hex(8)}"
        try:
            try:
                nearby.mkdir(parents=True, exist_ok=True)
                work.mkdir()
            except OSError as error:
                raise QuicksetError(os_reason(error)) from error
            yield work / self.path.name
        finally:
            with uninterrupted():
                shutil.rmtree(work, ignore_errors=True)
                for parent in made:
                    if parent.is_dir() and not any(parent.iterdir()):
                        parent.rmdir()

    def receive(self, staging: Path) -> None:
        """Move the finished service into place.

        Args:
            staging: The temporary folder.

        Raises:
            RefusedError: The target was created or filled meanwhile.
            QuicksetError: The system refused the move.
        """
        moved: list[Path] = []
        try:
            if not self.exists:
                if os.path.lexists(self.path):
                    raise RefusedError(f"{self.path} appeared meanwhile; nothing was touched.")
                staging.rename(self.path)
                return
            if {entry.name for entry in self.path.iterdir()} - {".git", staging.parent.name}:
                raise RefusedError(f"{self.path} was filled meanwhile; nothing was touched.")
            for entry in sorted(staging.iterdir()):
                entry.rename(self.path / entry.name)
                moved.append(self.path / entry.name)
        except OSError as error:
            for entry in moved:
                entry.rename(staging / entry.name)
            raise QuicksetError(os_reason(error)) from error


def _unborn(folder: Path) -> Path:
    """Find the git directory of a repository without a commit."""
    found = git.attempt("rev-parse", "--absolute-git-dir", cwd=folder)
    if found.returncode:
        raise RefusedError(f"{folder} has a .git that git cannot read: {git.reason(found.stderr)}.")
    if git.attempt("rev-parse", "--verify", "--quiet", "HEAD", cwd=folder).returncode == 0:
        raise RefusedError(f"{folder} is a repository with commits; give a new or an empty folder.")
    return Path(found.stdout.strip())
