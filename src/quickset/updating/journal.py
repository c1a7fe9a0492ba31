"""Changing a work tree and its index so that a kill at any moment loses nothing.

Everything that will be there is prepared beside it: the new files, as the user's settings want them, and the new
index. Then a journal is written, then each file is put in place by one rename, then the index by another. Whoever finds
a journal afterwards finishes the work or undoes it, path by path: each path is as it was or as it will be.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Literal

from quickset import git
from quickset.errors import RefusedError, why_full, writing
from quickset.updating.repository import Entry, Repository

Phase = Literal["applying", "conflicts", "aborting"]

_JOURNAL = "journal.json"
_INDEX = "index"
_CHECKOUTS = ("--ours", "--theirs", "--conflict=merge", "--conflict=diff3", "--conflict=zdiff3")
_LINK, _GITLINK = "120000", "160000"
# What a lock of ours on git's index holds. Git's own is empty or an index.
_LOCKED = b"quickset\n"
# In every conflict style. A separator has seven characters; headings are underlined with more.
_MARKER = re.compile(r"^(?:(?:<{7,}|>{7,}|\|{7,})(?: .*)?|={7})\r?$", re.MULTILINE)


@dataclass(slots=True)
class Step:
    """What happens to one path."""

    before: Entry | None
    after: Entry | None
    stages: dict[int, Entry] = field(default_factory=dict)
    was: str | None = None
    """Digest of the file in the work tree before; None where there was none."""
    becomes: str | None = None
    """Digest of the file in the work tree afterwards; None where there is to be none."""
    flags: list[str] = field(default_factory=list)
    """What the user set in the index for this path: skip-worktree, assume-unchanged."""
    alike: dict[str, int] = field(default_factory=dict)
    """Lines of a conflict's sides that look like markers, with their number."""


@dataclass(slots=True)
class Journal:
    """An update that is not finished."""

    phase: Phase
    service: str
    head: str
    steps: dict[str, Step]
    """By path relative to the work tree's top."""
    temporary: str = field(default_factory=lambda: f".quickset-{secrets.token_hex(8)}")
    """How a file is called for the moment before it is put in place."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the command needs to know to go on: versions, answers, what to tell."""

    def save(self, state: Path) -> None:
        """Write it, so that it is there whole or not at all.

        Args:
            state: The folder for it.
        """
        raw = {
            "phase": self.phase,
            "service": self.service,
            "head": self.head,
            "facts": self.facts,
            "temporary": self.temporary,
            "steps": {
                path: {
                    "before": step.before,
                    "after": step.after,
                    "stages": step.stages,
                    "was": step.was,
                    "becomes": step.becomes,
                    "flags": step.flags,
                    "alike": step.alike,
                }
                for path, step in self.steps.items()
            },
        }
        fresh = state / f"{_JOURNAL}.new"
        with writing(fresh), fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(raw, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(state / _JOURNAL)

    @classmethod
    def load(cls, state: Path) -> "Journal | None":
        """Read it.

        Args:
            state: The folder where it would be.

        Returns:
            The journal; None when nothing is unfinished.

        Raises:
            RefusedError: It cannot be understood.
        """
        try:
            raw = json.loads((state / _JOURNAL).read_text(encoding="utf-8", errors="surrogateescape"))
            steps = {
                path: Step(
                    before=_entry(step["before"]),
                    after=_entry(step["after"]),
                    stages={int(stage): Entry(*entry) for stage, entry in step["stages"].items()},
                    was=step["was"],
                    becomes=step["becomes"],
                    # Not in a journal of 0.3.3 and before.
                    flags=step.get("flags", []),
                    alike=step.get("alike", {}),
                )
                for path, step in raw["steps"].items()
            }
            return cls(raw["phase"], raw["service"], raw["head"], steps, raw["temporary"], raw["facts"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"{state / _JOURNAL} is damaged, so the unfinished update cannot be judged.") from error


def _entry(raw: list[str] | None) -> Entry | None:
    return Entry(*raw) if raw else None


@contextmanager
def locked(repository: Repository) -> Iterator[Path]:
    """Keep other quicksets away from a work tree; the lock goes with the process, however it ends.

    Args:
        repository: Whose work tree.

    Yields:
        The folder for the journal and what belongs to it.

    Raises:
        RefusedError: Another quickset is at work.
    """
    state = repository.state
    state.mkdir(exist_ok=True)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"another quickset is at work in {repository.top}; wait for it. Nothing was touched."
            ) from None
        # Left by a run that was killed.
        _unlock_index(repository)
        try:
            yield state
        finally:
            if not (state / _JOURNAL).exists():
                clean(state)


@contextmanager
def index_locked(repository: Repository, state: Path) -> Iterator[None]:
    """Keep git away from the index by git's own lock.

    Args:
        repository: Whose index.
        state: The folder of the journal, which is locked.

    Yields:
        Nothing.

    Raises:
        RefusedError: The index is locked already, or a commit is being made of it.
    """
    repository.require_no_commit()
    try:
        _lock_index(repository, state)
        yield
    finally:
        _unlock_index(repository)


def _lock_index(repository: Repository, state: Path) -> None:
    lock, made = repository.git_dir / f"{_INDEX}.lock", state / f"{_INDEX}.lock"
    try:
        with writing(made):
            made.write_bytes(_LOCKED)
        try:
            # It has its content from the first moment, so that the next run knows a lock of ours.
            os.link(made, lock)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links.
            with lock.open("xb") as file:
                try:
                    with writing(lock):
                        file.write(_LOCKED)
                        file.flush()
                except OSError:
                    # An empty file left behind could not be recognized later.
                    lock.unlink()
                    raise
    except FileExistsError:
        raise RefusedError(
            f"{lock} exists: another git is at work, or one was killed (then delete it). Nothing was touched; "
            "run the command again."
        ) from None
    finally:
        made.unlink(missing_ok=True)


def _unlock_index(repository: Repository) -> None:
    lock = repository.git_dir / f"{_INDEX}.lock"
    with suppress(FileNotFoundError):
        if lock.stat().st_size == len(_LOCKED) and lock.read_bytes() == _LOCKED:
            lock.unlink()


def clean(state: Path) -> None:
    """Remove what an update left that is over, or never began.

    Args:
        state: The folder of the journal.
    """
    for name in ("files", "back"):
        shutil.rmtree(state / name, ignore_errors=True)
    for name in (_INDEX, "files.index", "back.index", f"{_JOURNAL}.new"):
        _unlink_index(state / name)


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
    _unlink_index(index)
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


def vanished(repository: Repository, journal: Journal) -> bool:
    """Return whether nothing of an unfinished update is left, as after `git reset --hard`.

    Args:
        repository: The repository.
        journal: The journal.

    Returns:
        Whether the index and the work tree hold none of its changes and no conflict of it was resolved.
    """
    staged = repository.staged(journal.steps)
    conflicts = {path: step for path, step in journal.steps.items() if step.stages}
    if any(staged.get(path, {}).keys() - {0} for path in conflicts):
        return False
    applied, restored = [], []
    for path, step in journal.steps.items():
        before, after = ({0: entry} if entry else {} for entry in (step.before, step.after))
        now = staged.get(path, {})
        if (
            step.was != step.becomes
            and digest(repository.top / path) == step.becomes
            and not (conflicts and now == after)
        ):
            return False
        if not step.stages and before != after:
            applied.append(now == after)
            restored.append(now == before)
    # Git keeps the sides of a conflict that was resolved, also over a commit, and drops them in a reset.
    resolved = repository.staged(conflicts, resolved=True)
    if any(resolved.get(path) == step.stages for path, step in conflicts.items()):
        # It keeps them over `git checkout HEAD -- .`, too.
        return repository.head != journal.head and bool(restored) and all(restored)
    answers = journal.facts.get("answers")
    path = journal.service + str(journal.facts.get("answers_file"))
    if conflicts and answers and repository.staged([path]).get(path) == {0: Entry(*answers[1])}:
        # A merge brought the same update from another branch.
        return True
    # A checkout of another branch drops the sides, too. There the rest of the update is left as a whole, while a
    # single change may have been made again by hand.
    return not (applied and all(applied) if conflicts else any(applied))


def unresolved(repository: Repository, journal: Journal) -> list[str]:
    """Find conflicts that are as they were written, or of which markers are left.

    Args:
        repository: The repository.
        journal: The journal of an update with conflicts, none of which is unmerged any more.

    Returns:
        Their paths.
    """
    conflicts = {path: step for path, step in journal.steps.items() if step.stages}
    staged = {path: found[0] for path, found in repository.staged(conflicts).items() if 0 in found}
    found = []
    for path, step in conflicts.items():
        entry, file = staged.get(path), repository.top / path
        written = step.after is not None and step.after.oid not in {side.oid for side in step.stages.values()}
        texts = [repository.as_on_disk(entry, path)] if entry else []
        if file.is_file() and not file.is_symlink():
            texts.append(file.read_bytes().decode(errors="surrogateescape"))
        left = any(markers([text]) - Counter(step.alike) for text in texts)
        if left or (written and entry and step.after and entry.oid == step.after.oid):
            found.append(path)
    return found


def unstaged(repository: Repository, journal: Journal) -> list[str]:
    """Find changes of an update that are in the work tree and no longer in the index, as after `git reset`.

    Args:
        repository: The repository.
        journal: The journal.

    Returns:
        Their paths.
    """
    staged = repository.staged(journal.steps)
    return [
        path
        for path, step in journal.steps.items()
        if not step.stages
        and step.before != step.after
        and staged.get(path, {}) == ({0: step.before} if step.before else {})
        and step.was != step.becomes
        and digest(repository.top / path) == step.becomes
    ]


def markers(texts: Iterable[str]) -> Counter[str]:
    """Count the lines that look like a conflict's markers.

    Args:
        texts: The contents of files.

    Returns:
        The number of each such line.
    """
    return Counter(found.removesuffix("\r") for text in texts for found in _MARKER.findall(text))


def finish(state: Path) -> None:
    """Forget a journal whose work is done.

    Args:
        state: The folder of the journal.
    """
    (state / _JOURNAL).unlink(missing_ok=True)
    clean(state)


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
            index, folder = Path(name, _INDEX), Path(name, "files")
            folder.mkdir()
            # With all the rest, because git looks for attributes there.
            shutil.copyfile(repository.git_dir / _INDEX, index)
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


def _unlink_index(index: Path) -> None:
    """Remove an index of ours, with the lock that a killed git left beside it."""
    index.unlink(missing_ok=True)
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)


def _write_index(repository: Repository, state: Path, journal: Journal) -> None:
    """Put the new entries into the index: into a copy, which then takes the index's place by one rename."""
    index, copy = repository.git_dir / _INDEX, state / _INDEX
    _unlink_index(copy)
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
