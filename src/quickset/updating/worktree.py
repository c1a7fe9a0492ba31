"""Put prepared files and a new index in place, each by one rename, and take them back."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from time import perf_counter

from quickset import git
from quickset.errors import RefusedError, why_full, writing
from quickset.updating.journal import Journal, Step, remove_index
from quickset.updating.repository import Entry, Repository

_CHECKOUTS = ("--ours", "--theirs", "--conflict=merge", "--conflict=diff3", "--conflict=zdiff3")

_LINK, _GITLINK = "120000", "160000"


def prepare(repository: Repository, state: Path, steps: Mapping[str, Step]) -> None:
    """Put new files aside, as they will be in the work tree, and note what each step changes there.

    Args:
        repository: The repository.
        state: The folder of the journal.
        steps: The steps; completed in place.
    """
    _write_aside(repository, state / "files", {path: step.after for path, step in steps.items()})
    flags = repository.flags(steps)
    for path, step in steps.items():
        step.flags = step.flags or flags.get(path, [])
        step.was = digest(repository.top / path)
        if step.was is None and "skip-worktree" in step.flags and not step.stages:
            # A sparse checkout leaves it out of the work tree.
            continue
        if step.after:
            step.becomes = step.was if step.after.mode == _GITLINK else digest(state / "files" / path)


def edited(repository: Repository, state: Path, steps: Mapping[str, Step]) -> list[str]:
    """Find files that are not what was committed, whatever the index believes of their times.

    Args:
        repository: The repository.
        state: The folder of the journal.
        steps: Prepared steps.

    Returns:
        Their paths.
    """
    folder = state / "back"
    _write_aside(repository, folder, {path: step.before for path, step in steps.items() if step.was is not None})
    found = []
    for path, step in steps.items():
        if step.was is not None and step.before is None:
            # It was not there a moment ago.
            found.append(path)
        differs = step.was is not None and step.before and step.was != digest(folder / path)
        # Another line ending, say, may be the same to git.
        if differs and step.before and repository.oid_of(path) != step.before.oid:
            found.append(path)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _write_aside(repository: Repository, folder: Path, entries: Mapping[str, Entry | None]) -> None:
    """Check files out to another folder: filters and line endings as the user has them."""
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
    done = git.attempt("checkout-index", *options, cwd=repository.top, env=env, theirs=True)
    if done.returncode:
        stdin = "".join(f"{path}\0" for path, entry in entries.items() if entry)
        named = git.attempt("check-attr", "-z", "--stdin", "filter", cwd=repository.top, stdin=stdin, theirs=True)
        why = git.filter_reason(done.stderr, git.filters_in(named.stdout))
        raise git.GitError(why_full(folder) or f"git checkout-index failed: {why}")
    index.unlink()


def apply(repository: Repository, state: Path, journal: Journal) -> float:
    """Carry a journal out. It may have been begun before: what is done already is left alone.

    Args:
        repository: The repository.
        state: The folder of the journal.
        journal: Saved already.

    Returns:
        For how many milliseconds the work tree was neither as before nor as afterwards.

    Raises:
        RefusedError: A file is neither as it was nor as it is to be; nothing of it was touched.
    """
    gone = {path for path, step in journal.steps.items() if step.becomes is None}
    foreign = [
        path
        for path, step in journal.steps.items()
        if not _expected(repository.top / path, step)
        or (step.becomes is not None and _obstructed(repository.top, path, gone, journal.temporary))
    ]
    if foreign:
        raise RefusedError(f"changed meanwhile: {', '.join(foreign)}. Move your edits elsewhere and run this again.")
    started = perf_counter()
    # First what goes, so that a file can take a folder's place and the other way round.
    for path, step in sorted(journal.steps.items(), key=lambda item: item[1].becomes is not None):
        target = repository.top / path
        _forget_temporary(target, journal.temporary)
        if step.becomes is None:
            if step.was is not None and digest(target) == step.was:
                _delete(target, repository.top)
        elif digest(target) != step.becomes:
            _put(state / "files" / path, target, journal.temporary)
    _write_index(repository, state, journal)
    return (perf_counter() - started) * 1000


def undo(repository: Repository, state: Path, journal: Journal) -> None:
    """Take a journal back: the files and the index as they were before.

    Args:
        repository: The repository.
        state: The folder of the journal.
        journal: The journal.

    Raises:
        RefusedError: A file was edited since; nothing was touched.
    """
    gone = {path for path, step in journal.steps.items() if step.was is None}
    staged = repository.staged(journal.steps)
    edited = [
        path
        for path, step in journal.steps.items()
        if not (
            _expected(repository.top / path, step, gone=True)
            or digest(repository.top / path) in _checked_out(repository, path, step)
        )
        or (step.was is not None and _obstructed(repository.top, path, gone, journal.temporary))
        or not _as_left(repository, path, staged.get(path, {}), step)
    ]
    if edited:
        raise RefusedError(
            f"edited since the update: {', '.join(edited)}. Save your edits elsewhere, delete "
            f"{'that file' if len(edited) == 1 else 'those files'}, and abort again. Nothing was touched."
        )
    journal.phase = "aborting"
    back = {path: Step(before=step.after, after=step.before, flags=step.flags) for path, step in journal.steps.items()}
    _write_aside(repository, state / "back", {path: step.after for path, step in back.items()})
    journal.save(state)
    for path, step in sorted(journal.steps.items(), key=lambda item: item[1].was is not None):
        target = repository.top / path
        _forget_temporary(target, journal.temporary)
        if step.was is None:
            if step.becomes is not None and digest(target) == step.becomes:
                _delete(target, repository.top)
        elif digest(target) != step.was:
            _put(state / "back" / path, target, journal.temporary)
    _write_index(repository, state, Journal(journal.phase, journal.service, journal.head, back))


def digest(path: Path) -> str | None:
    """Tell files apart: by kind, executable bit and contents.

    Args:
        path: A path that may be missing.

    Returns:
        The digest; None when there is no file.
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


def _expected(path: Path, step: Step, *, gone: bool = False) -> bool:
    found = digest(path)
    # A rename that was cut off has left nothing else.
    return found in (step.was, step.becomes) or (gone and found is None)


def _checked_out(repository: Repository, path: str, step: Step) -> Iterator[str | None]:
    """Digest what `git checkout` writes of a conflict's recorded sides: one of them, or the conflict in any style."""
    null = f"0 {'0' * len(repository.head)}\t{path}\0"
    lines = [f"{entry.mode} {entry.oid} {stage}\t{path}\0" for stage, entry in step.stages.items()]
    for option in _CHECKOUTS if lines else ():
        with TemporaryDirectory(prefix="quickset-") as name:
            index, folder = Path(name, "index"), Path(name, "files")
            folder.mkdir()
            # With all the rest, because git looks for attributes there.
            shutil.copyfile(repository.index, index)
            env = {"GIT_DIR": str(repository.git_dir), "GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
            repository.git("update-index", "-z", "--index-info", stdin="".join([null, *lines]), env=env)
            git.attempt("checkout", "--quiet", option, "--", path, cwd=folder, env=env, theirs=True)
            yield digest(folder / path)


def _as_left(repository: Repository, path: str, found: Mapping[int, Entry], step: Step) -> bool:
    """Tell whether the index holds nothing of the user's for a path that the work tree does not hold."""
    expected: list[Mapping[int, Entry]] = [{0: entry} if entry else {} for entry in (step.before, step.after)]
    if found in (*expected, step.stages, {}) or not (repository.top / path).exists():
        # A file that is gone was given up with its entry.
        return True
    return found.keys() == {0} and repository.oid_of(path) == found[0].oid


def _obstructed(top: Path, path: str, gone: set[str], temporary: str) -> bool:
    """Tell whether a file cannot be put in place, or only outside: for a folder with other files, a file or a link."""
    target = top / path
    if target.is_dir() and not target.is_symlink():
        files = (file for file in target.rglob("*") if file.is_symlink() or not file.is_dir())
        # A run that was killed may have left its temporary file.
        return any(file.name != temporary and file.relative_to(top).as_posix() not in gone for file in files)
    ways = (parent for parent in PurePosixPath(path).parents if str(parent) != ".")
    return any(
        str(way) not in gone and ((top / way).is_symlink() or ((top / way).exists() and not (top / way).is_dir()))
        for way in ways
    )


def _forget_temporary(target: Path, name: str) -> None:
    # Left by a run that was killed; where a folder is a file by now, nothing can be.
    with suppress(NotADirectoryError):
        target.with_name(name).unlink(missing_ok=True)


def _put(source: Path, target: Path, name: str) -> None:
    """Move a prepared file into place by one rename."""
    temporary = target.with_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        # Its files are gone already; what is left is empty.
        target.rmdir()
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError:
        # Another disk, or one without hard links.
        try:
            shutil.copy2(source, temporary, follow_symlinks=False)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(target)


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
    """Put the new entries into the index: into a copy, which then takes the index's place by one rename."""
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
        # Git does not say it of an index.
        raise git.GitError(why_full(state) or str(error)) from error
    repository.refresh(env)
    for flag, paths in flagged.items():
        listed = "".join(f"{path}\0" for path in paths)
        repository.git("update-index", "-z", f"--{flag}", "--stdin", stdin=listed, env=env)
    copy.replace(index)
