"""Bring `uv.lock` up to date with a merged `pyproject.toml`."""

import secrets
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from quickset import git, locking
from quickset.errors import os_reason, writing
from quickset.locking import LOCK, PROJECT
from quickset.templates import remote
from quickset.templates.answers_file import read_answers
from quickset.updating import worktree
from quickset.updating.changes import Change
from quickset.updating.journal import Step
from quickset.updating.merge import Merged
from quickset.updating.repository import Entry, Repository
from quickset.updating.result import Progress
from quickset.updating.scratch import Workshop


def update_lock(
    work: Workshop, repository: Repository, merged: Merged, progress: Progress, *, trusted: bool
) -> str | None:
    """Let uv bring the lock file up to date with the merged project; say why when it could not."""
    project = merged.after.get(PROJECT)
    head = repository.tree()
    if project is None or PROJECT in merged.stages or LOCK not in head or PROJECT not in head:
        return None
    contents = work.read({PROJECT: project, LOCK: head[LOCK], "before": head[PROJECT]}, [PROJECT, LOCK, "before"])
    if _locked_part(contents["before"]) == _locked_part(contents[PROJECT]):
        return None
    if repository.touched([LOCK]):
        return f"{LOCK} has changes that are not committed and was left alone; run `uv lock`."
    with tempfile.TemporaryDirectory(prefix="quickset-lock-") as folder:
        for name in (PROJECT, LOCK):
            Path(folder, name).write_bytes(contents[name])
        with progress("Locking dependencies"):
            reason = locking.lock(Path(folder), trusted=trusted)
        if reason:
            return f"The dependencies could not be locked ({reason}); run `uv lock`."
        fresh = Path(folder, LOCK).read_bytes()
    if fresh != contents[LOCK]:
        merged.before[LOCK] = head[LOCK]
        merged.after[LOCK] = Entry(head[LOCK].mode, work.write({LOCK: fresh})[LOCK])
        merged.changes.append(Change(LOCK, "changed"))
        merged.changes.sort(key=lambda change: change.path)
    return None


def _locked_part(content: bytes) -> Any:
    """What of a `pyproject.toml` decides over its lock file."""
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


def update_lock_in_place(repository: Repository, progress: Progress, written: Step | None) -> str | None:
    """Bring the lock file up to date after conflicts, and stage it; what the update wrote there is no user's change."""
    file = repository.service / LOCK
    tracked = git.attempt("ls-files", "--error-unmatch", "--", LOCK, cwd=repository.service).returncode == 0
    if not tracked or not file.is_file() or not (repository.service / PROJECT).is_file():
        return None
    if repository.touched([LOCK]) and not (written and written.becomes == worktree.digest(file)):
        return f"{LOCK} has changes that are not committed and was left alone; run `uv lock`."
    trusted = remote.is_canonical(str(read_answers(repository.service, repository.answers_file)["_src_path"]))
    with tempfile.TemporaryDirectory(prefix="quickset-lock-") as folder:
        for name in (PROJECT, LOCK):
            Path(folder, name).write_bytes((repository.service / name).read_bytes())
        with progress("Locking dependencies"):
            reason = locking.lock(Path(folder), trusted=trusted)
        if reason:
            return f"The dependencies could not be locked ({reason}); run `uv lock`."
        fresh = Path(folder, LOCK).read_bytes()
    if fresh != file.read_bytes():
        aside = file.with_name(f".quickset-{secrets.token_hex(8)}")
        try:
            with writing(aside):
                aside.write_bytes(fresh)
            aside.replace(file)
        except OSError as error:
            aside.unlink(missing_ok=True)
            return f"The dependencies could not be locked ({os_reason(error)}); run `uv lock`."
        git.run("add", "--", LOCK, cwd=repository.service, theirs=True)
    return None
