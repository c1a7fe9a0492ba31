"""Put prepared files and a new index in place, each by one rename, and undo that.

A run may be killed at any moment. The next one does what is not done yet.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from time import perf_counter

from quickset import git
from quickset.errors import RefusedError, why_full, writing
from quickset.signals import temporary_folder
from quickset.updating.journal import Journal, Step, remove_index
from quickset.updating.repository import Repository
from quickset.updating.tree import Entry

_CHECKOUTS = ("--ours", "--theirs", "--conflict=merge", "--conflict=diff3", "--conflict=zdiff3")
_LINK, _GITLINK = "120000", "160000"


def prepare(repository: Repository, state: Path, steps: Mapping[str, Step]) -> None:
    """Prepare the new files next to the work tree, and complete the steps with what changes there.

    Args:
        repository: The repository.
        state: The folder of the journal.
        steps: The steps. They are completed in place.
    """
    _check_out(repository, state / "files", {path: step.after for path, step in steps.items()})
    flags = repository.flags(steps)
    for path, step in steps.items():
        step.flags = step.flags or flags.get(path, [])
        step.was = digest(repository.top / path)
        if step.was is None and "skip-worktree" in step.flags and not step.stages:
            # A sparse checkout leaves it out of the work tree.
            continue
        if step.after:
            step.becomes = step.was if step.after.mode == _GITLINK else digest(state / "files" / path)


def find_edited(repository: Repository, state: Path, steps: Mapping[str, Step]) -> list[str]:
    """Find files that differ from what is committed. The times in the index do not matter.

    Args:
        repository: The repository.
        state: The folder of the journal.
        steps: The prepared steps.

    Returns:
        The paths.
    """
    folder = state / "back"
    _check_out(repository, folder, {path: step.before for path, step in steps.items() if step.was is not None})
    found = []
    for path, step in steps.items():
        if step.was is not None and step.before is None:
            # The file was created a moment ago.
            found.append(path)
        differs = step.was is not None and step.before and step.was != digest(folder / path)
        # git may ignore the difference, as with line endings.
        if differs and step.before and repository.oid_of(path) != step.before.oid:
            found.append(path)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _check_out(repository: Repository, folder: Path, entries: Mapping[str, Entry | None]) -> None:
    """Check files out to another folder, with the filters and line endings of the user's settings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    index = folder.with_suffix(".index")
    remove_index(index)
    env = {"GIT_INDEX_FILE": str(index)}
    lines = "".join(
        f"{entry.mode} {entry.oid}\t{path}\0" for path, entry in entries.items() if entry and entry.mode != _GITLINK
    )
    if not lines:
        return
    repository.git("update-index", "-z", "--index-info", stdin=lines, env=env)
    options = ("--all", "--force", "--quiet", f"--prefix={folder}/")
    done = git.attempt("checkout-index", *options, cwd=repository.top, env=env, user_settings=True)
    if done.returncode:
        stdin = "".join(f"{path}\0" for path, entry in entries.items() if entry)
        named = git.attempt(
            "check-attr", "-z", "--stdin", "filter", cwd=repository.top, stdin=stdin, user_settings=True
        )
        why = git.filter_reason(done.stderr, git.filters_in(named.stdout))
        raise git.GitError(why_full(folder) or f"git checkout-index failed: {why}")
    index.unlink()


def apply(repository: Repository, state: Path, journal: Journal) -> float:
    """Carry out the steps of a journal that are not done yet.

    Args:
        repository: The repository.
        state: The folder of the journal.
        journal: The journal, which is saved already.

    Returns:
        The milliseconds for which the work tree was between both states.

    Raises:
        RefusedError: A file is in neither state. Nothing was changed.
    """
    gone = {path for path, step in journal.steps.items() if step.becomes is None}
    changed = [
        path
        for path, step in journal.steps.items()
        if not _is_expected(repository.top / path, step)
        or (step.becomes is not None and _is_obstructed(repository.top, path, gone, journal.temporary))
    ]
    if changed:
        raise RefusedError(f"changed meanwhile: {', '.join(changed)}. Move your edits elsewhere and run this again.")
    started = perf_counter()
    _write_files(repository.top, state / "files", journal.steps, journal.temporary)
    _write_index(repository, state, journal)
    return (perf_counter() - started) * 1000


def undo(repository: Repository, state: Path, journal: Journal) -> None:
    """Restore the files and the index from before the update.

    Args:
        repository: The repository.
        state: The folder of the journal.
        journal: The journal.

    Raises:
        RefusedError: A file was edited since. Nothing was changed.
    """
    gone = {path for path, step in journal.steps.items() if step.was is None}
    staged = repository.staged(journal.steps)
    edited = [
        path
        for path, step in journal.steps.items()
        if not (
            _is_expected(repository.top / path, step, gone=True)
            or digest(repository.top / path) in _digests_of_checkouts(repository, path, step)
        )
        or (step.was is not None and _is_obstructed(repository.top, path, gone, journal.temporary))
        or not _is_unedited_entry(repository, path, staged.get(path, {}), step)
    ]
    if edited:
        raise RefusedError(
            f"edited since the update: {', '.join(edited)}. Save your edits elsewhere, delete "
            f"{'that file' if len(edited) == 1 else 'those files'}, and abort again. Nothing was touched."
        )
    journal.phase = "aborting"
    back = {
        path: Step(before=step.after, after=step.before, flags=step.flags, was=step.becomes, becomes=step.was)
        for path, step in journal.steps.items()
    }
    _check_out(repository, state / "back", {path: step.after for path, step in back.items()})
    journal.save(state)
    _write_files(repository.top, state / "back", back, journal.temporary)
    _write_index(repository, state, Journal(journal.phase, journal.service, journal.head, back))


def _write_files(top: Path, source: Path, steps: Mapping[str, Step], temporary: str) -> None:
    # Files are deleted first, so that a file can replace a folder, and a folder a file.
    for path, step in sorted(steps.items(), key=lambda item: item[1].becomes is not None):
        target = top / path
        _remove_temporary(target, temporary)
        if step.becomes is None:
            if step.was is not None and digest(target) == step.was:
                _delete(target, top)
        elif digest(target) != step.becomes:
            _put(source / path, target, temporary)


def digest(path: Path) -> str | None:
    """Return a digest of a file: of its kind, its executable bit and its contents.

    Args:
        path: A path that may be missing.

    Returns:
        The digest; None if there is no file.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return f"link {path.readlink()}"
        if not stat.S_ISREG(found.st_mode):
            return None
        kind = "program" if found.st_mode & stat.S_IXUSR else "file"
        return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_expected(path: Path, step: Step, *, gone: bool = False) -> bool:
    found = digest(path)
    # An interrupted rename leaves no other state.
    return found in (step.was, step.becomes) or (gone and found is None)


def _digests_of_checkouts(repository: Repository, path: str, step: Step) -> Iterator[str | None]:
    """Yield the digest of each form that `git checkout` writes of a conflict: one side, or a style of markers."""
    null = f"0 {'0' * len(repository.head)}\t{path}\0"
    lines = [f"{entry.mode} {entry.oid} {stage}\t{path}\0" for stage, entry in step.stages.items()]
    for option in _CHECKOUTS if lines else ():
        with temporary_folder() as name:
            index, folder = Path(name, "index"), Path(name, "files")
            folder.mkdir()
            # The copy has all other entries, too, because git reads attributes from them.
            shutil.copyfile(repository.index, index)
            env = {"GIT_DIR": str(repository.git_dir), "GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
            repository.git("update-index", "-z", "--index-info", stdin="".join([null, *lines]), env=env)
            git.attempt("checkout", "--quiet", option, "--", path, cwd=folder, env=env, user_settings=True)
            yield digest(folder / path)


def _is_unedited_entry(repository: Repository, path: str, found: Mapping[int, Entry], step: Step) -> bool:
    """Return whether the index entry of a path is known, or has the content of the file in the work tree."""
    expected: list[Mapping[int, Entry]] = [{0: entry} if entry else {} for entry in (step.before, step.after)]
    if found in (*expected, step.stages, {}) or not (repository.top / path).exists():
        # The user deleted the file, and with it the entry.
        return True
    return found.keys() == {0} and repository.oid_of(path) == found[0].oid


def _is_obstructed(top: Path, path: str, gone: set[str], temporary: str) -> bool:
    """Return whether a file cannot be put in place: other files, a file or a link are in the way."""
    target = top / path
    if target.is_dir() and not target.is_symlink():
        files = (file for file in target.rglob("*") if file.is_symlink() or not file.is_dir())
        # A killed run may have left its temporary file.
        return any(file.name != temporary and file.relative_to(top).as_posix() not in gone for file in files)
    ways = (parent for parent in PurePosixPath(path).parents if str(parent) != ".")
    return any(
        str(way) not in gone and ((top / way).is_symlink() or ((top / way).exists() and not (top / way).is_dir()))
        for way in ways
    )


def _remove_temporary(target: Path, name: str) -> None:
    # A killed run may have left it, unless its folder is a file by now.
    with suppress(NotADirectoryError):
        target.with_name(name).unlink(missing_ok=True)


def _put(source: Path, target: Path, name: str) -> None:
    """Move a prepared file into place by one rename."""
    temporary = target.with_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        # Its files are deleted already, so the folder is empty.
        target.rmdir()
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError:
        # The file may be on another disk, or on one without hard links.
        try:
            shutil.copy2(source, temporary, follow_symlinks=False)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(target)
    # Otherwise its later removal changes the file's times, and git reads the file again.
    source.unlink(missing_ok=True)


def _delete(target: Path, top: Path) -> None:
    with suppress(FileNotFoundError):
        target.unlink()
    for parent in target.parents:
        if parent == top:
            break
        try:
            parent.rmdir()
        except OSError:
            break


def _write_index(repository: Repository, state: Path, journal: Journal) -> None:
    """Put the new entries into a copy of the index, which then replaces the index by one rename."""
    index, copy = repository.index, state / "index"
    remove_index(copy)
    with writing(copy):
        shutil.copyfile(index, copy)
    env = {"GIT_INDEX_FILE": str(copy)}
    lines = []
    flagged: dict[str, list[str]] = {}
    for path, step in journal.steps.items():
        lines.append(f"0 {'0' * len(journal.head)}\t{path}\0")
        if step.stages:
            lines += [f"{entry.mode} {entry.oid} {stage}\t{path}\0" for stage, entry in sorted(step.stages.items())]
        elif step.after:
            lines.append(f"{step.after.mode} {step.after.oid}\t{path}\0")
            for flag in step.flags:
                flagged.setdefault(flag, []).append(path)
    try:
        repository.git("update-index", "-z", "--index-info", stdin="".join(lines), env=env)
    except git.GitError as error:
        # git does not report a full disk when it writes an index.
        raise git.GitError(why_full(state) or str(error)) from error
    repository.refresh(env)
    for flag, paths in flagged.items():
        listed = "".join(f"{path}\0" for path in paths)
        repository.git("update-index", "-z", f"--{flag}", "--stdin", stdin=listed, env=env)
    copy.replace(index)
