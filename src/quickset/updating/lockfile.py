"""Update `uv.lock` for a merged `pyproject.toml`."""

import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quickset import git, locking
from quickset.errors import os_reason, writing
from quickset.locking import LOCK, PROJECT
from quickset.signals import temporary_folder
from quickset.templates import remote
from quickset.templates.answers_file import read_answers
from quickset.updating.changes import Change
from quickset.updating.journal import Step
from quickset.updating.merge import MergeResult
from quickset.updating.repository import Repository
from quickset.updating.result import Progress
from quickset.updating.scratch import ScratchRepository
from quickset.updating.tree import Entry
from quickset.updating.worktree import digest

_UNCOMMITTED = f"{LOCK} has changes that are not committed, so it was not changed; run `uv lock`."


def update_lock(
    scratch: ScratchRepository, repository: Repository, merged: MergeResult, progress: Progress, *, trusted: bool
) -> str | None:
    """Add an updated lock file to a merge, if the merged project needs one.

    Args:
        scratch: The repository of the merge.
        repository: The repository of the service.
        merged: The merge. The lock file is added to it.
        progress: Opens a context in which a long step is shown.
        trusted: Code that the project names may run.

    Returns:
        A note if the dependencies could not be locked.
    """
    project = merged.after.get(PROJECT)
    head = repository.tree()
    if project is None or PROJECT in merged.stages or LOCK not in head or PROJECT not in head:
        return None
    entries = {PROJECT: project, LOCK: head[LOCK], "before": head[PROJECT]}
    contents = scratch.read_files(entries, entries)
    if _locked_part(contents["before"]) == _locked_part(contents[PROJECT]):
        return None
    if repository.touched([LOCK]):
        return _UNCOMMITTED
    locked, reason = _lock(contents, progress, trusted=trusted)
    if reason:
        return _not_locked(reason)
    if locked != contents[LOCK]:
        merged.before[LOCK] = head[LOCK]
        merged.after[LOCK] = Entry(head[LOCK].mode, scratch.write_blobs({LOCK: locked})[LOCK])
        merged.changes.append(Change(LOCK, "changed"))
        merged.changes.sort(key=lambda change: change.path)
    return None


def update_lock_in_place(repository: Repository, progress: Progress, written: Step | None) -> str | None:
    """Update the lock file of a service after its conflicts are resolved, and stage it.

    Args:
        repository: The repository of the service.
        progress: Opens a context in which a long step is shown.
        written: The step by which the update wrote the lock file. The user did not make this change.

    Returns:
        A note if the dependencies could not be locked.
    """
    file = repository.service / LOCK
    tracked = git.attempt("ls-files", "--error-unmatch", "--", LOCK, cwd=repository.service).returncode == 0
    if not tracked or not file.is_file() or not (repository.service / PROJECT).is_file():
        return None
    if repository.touched([LOCK]) and not (written and written.becomes == digest(file)):
        return _UNCOMMITTED
    trusted = remote.is_canonical(str(read_answers(repository.service, repository.answers_file)["_src_path"]))
    contents = {name: (repository.service / name).read_bytes() for name in (PROJECT, LOCK)}
    locked, reason = _lock(contents, progress, trusted=trusted)
    if reason:
        return _not_locked(reason)
    if locked != contents[LOCK]:
        temporary = file.with_name(f".quickset-{secrets.token_hex(8)}")
        try:
            with writing(temporary):
                temporary.write_bytes(locked)
            temporary.replace(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return _not_locked(os_reason(error))
        git.run("add", "--", LOCK, cwd=repository.service, user_settings=True)
    return None


def _not_locked(reason: str) -> str:
    return f"The dependencies could not be locked ({reason}); run `uv lock`."


def _lock(contents: Mapping[str, bytes], progress: Progress, *, trusted: bool) -> tuple[bytes, str | None]:
    """Lock a project in a temporary folder. Return the lock file, and the reason if that failed."""
    with temporary_folder("quickset-lock-") as folder:
        for name in (PROJECT, LOCK):
            Path(folder, name).write_bytes(contents[name])
        with progress("Locking dependencies"):
            reason = locking.lock(folder, trusted=trusted)
        return Path(folder, LOCK).read_bytes(), reason


def _locked_part(content: bytes) -> Any:
    """Return the part of a `pyproject.toml` on which its lock file depends."""
    try:
        loaded = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return content
    project = loaded.get("project")
    if not isinstance(project, dict):
        return content
    names = ("name", "version", "requires-python", "dependencies", "optional-dependencies")
    tools = loaded.get("tool")
    uv = tools.get("uv") if isinstance(tools, dict) else None
    return [project.get(name) for name in names], loaded.get("dependency-groups"), uv
