"""Continue, finish or abort an update that is not complete."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from quickset import git
from quickset.errors import ConflictError, QuicksetError, RefusedError, UsageError
from quickset.locking import LOCK
from quickset.shell import join
from quickset.signals import uninterrupted
from quickset.templates.answers_file import ANSWERS_FILE, find_answers_file, read_answers
from quickset.updating import adapt, journal, locks, worktree
from quickset.updating.apply import half_done, put_in_place, settle
from quickset.updating.conflicts import forget_vanished, unresolved, unstaged
from quickset.updating.journal import Journal, Step
from quickset.updating.lockfile import update_lock_in_place
from quickset.updating.repository import Entry, Repository
from quickset.updating.result import Progress, Result, from_journal
from quickset.updating.scratch import OLD, THEIRS

_WORD = re.compile(r"\w+|[^\w\s]")


def recorded_answers(path: Path, answers_file: str = "") -> dict[str, Any]:
    """Read the answers of a service.

    Args:
        path: The service.
        answers_file: Where they are; empty to look for it.

    Returns:
        The answers.

    Raises:
        UsageError: There is no service.
        ConflictError: An unfinished update left them as they are.
        QuicksetError: They are damaged.
    """
    try:
        return read_answers(path, find_answers_file(path, answers_file))
    except UsageError:
        raise
    except QuicksetError:
        repository = Repository.around(path)
        require_finished(repository, repository.state)
        raise


def require_finished(repository: Repository, state: Path) -> None:
    """Refuse to begin anything over an unfinished update.

    Args:
        repository: The repository.
        state: The folder of the journal.

    Raises:
        ConflictError: There is one.
    """
    if (unfinished := Journal.load(state)) and not forget_vanished(repository, state, unfinished):
        left = [path for path, step in unfinished.steps.items() if step.stages]
        title = from_journal(repository, unfinished).title
        if unfinished.phase == "conflicts" and left:
            unmerged = repository.unmerged(left)
            what = f"conflicts in {', '.join(unmerged)}" if unmerged else "resolved conflicts"
            raise ConflictError(f"{title}: {what}; go on with `quickset update --continue`, or back with `--abort`.")
        raise ConflictError(
            f"{title}: interrupted; finish it with `quickset update --continue`, or undo it with `--abort`."
        )


def finish_interrupted(repository: Repository, state: Path, record: Journal) -> Result:
    """Finish what was killed on its way.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: What was being done.

    Returns:
        What is the case now.
    """
    told = from_journal(repository, record)
    if record.phase == "aborting":
        _undo(repository, state, record)
        return Result(
            path=told.path, title=told.title, notes=("The interrupted --abort was finished; everything is as it was.",)
        )
    if forget_vanished(repository, state, record):
        return Result(path=told.path, title=told.title, notes=("It was interrupted, and nothing of it is left.",))
    with locks.index_locked(repository, state):
        milliseconds = put_in_place(repository, state, record)
    settle(state, record)
    conflicts = tuple(sorted(path.removeprefix(record.service) for path, step in record.steps.items() if step.stages))
    notes = ("It was interrupted, and is finished now.",)
    return replace(told, conflicts=conflicts, notes=notes, applied_ms=round(milliseconds, 1))


def resume(path: Path, *, lock: bool = True, progress: Progress = lambda _: nullcontext()) -> Result:
    """Go on after conflicts were resolved, or after an interruption.

    Args:
        path: The service.
        lock: Bring `uv.lock` along.
        progress: Opens a context in which the user sees what takes long.

    Returns:
        What was done.

    Raises:
        RefusedError: There is nothing to go on with.
        ConflictError: Paths are unmerged, hold conflict markers, or are no longer staged.
    """
    repository = Repository.around(path)
    with locks.locked(repository) as state:
        record = Journal.load(state)
        if record is None:
            raise RefusedError("there is no update to continue here.")
        if record.phase != "conflicts":
            return finish_interrupted(repository, state, record)
        if forget_vanished(repository, state, record):
            raise RefusedError("nothing of the update is left here, so it was forgotten; run `quickset update` again.")
        paths = [path for path, step in record.steps.items() if step.stages]
        repository.require_merged(paths)
        _require_resolved(repository, record)
        told = from_journal(repository, record, _decided(repository, record))
        service = replace(repository, prefix=record.service, answers_file=_answers_file(record))
        _advance(service, state, record)
        written = record.steps.get(record.service + LOCK)
        note = update_lock_in_place(service, progress, written) if lock else None
        return replace(told, notes=(*told.notes, *_left_aside(service, record), *([note] if note else [])))


def _left_aside(repository: Repository, record: Journal) -> Iterator[str]:
    """Name the files that were put next to a folder that has their place, and that are still there."""
    # A journal of 0.3.3 does not name them.
    for place, path in record.facts.get("aside", {}).items():
        if os.path.lexists(repository.service / path):
            yield (
                f"{path} is still there: it was put next to the folder {place}/, which has its place. "
                "Move what you need of it elsewhere, then delete it."
            )


def _decided(repository: Repository, record: Journal) -> dict[str, dict[str, str]]:
    """Return what became of each conflict and of each change that the user took back: kind and note by path."""
    staged = repository.staged(record.steps)
    found = {}
    for path, step in record.steps.items():
        now = staged.get(path, {}).get(0)
        if step.stages:
            ours, template = step.stages.get(2), step.stages.get(3)
            kind = "removed" if now is None else "yours" if now == ours else "changed" if now == template else "merged"
            note = ""
            if now and kind == "merged" and _takes_nothing(repository, path, step.stages, now):
                kind, note = "yours", "nothing of the template's change is in it"
            found[path] = {"kind": kind, "note": note}
        elif now == step.before != step.after:
            found[path] = {"kind": "yours", "note": "you took the change back"}
    return found


def _takes_nothing(repository: Repository, path: str, sides: Mapping[int, Entry], now: Entry) -> bool:
    """Tell whether a resolution took no word of a conflict from the template, and dropped none that it dropped."""
    if not {OLD, 2, THEIRS} <= sides.keys():
        return False
    entries = (sides[OLD], sides[THEIRS], sides[2], now)
    old, new, mine, result = (Counter(_WORD.findall(repository.as_on_disk(entry, path))) for entry in entries)
    return not ((new - old) & (result - mine)) and not ((old - new) & (mine - result))


def _require_resolved(repository: Repository, record: Journal) -> None:
    """Refuse to go on over what is unmerged no longer and yet not resolved."""
    if left := unresolved(repository, record):
        raise ConflictError(f"conflict markers are left in {', '.join(left)}; resolve, `git add`, and run this again.")
    if left := unstaged(repository, record):
        raise ConflictError(
            f"no longer staged: {', '.join(left)}. `git add` what you want of the update, `git restore` the rest, and "
            "run this again."
        )


def _answers_file(record: Journal) -> str:
    # Up to 0.3.3 a journal did not say.
    return str(record.facts.get("answers_file", ANSWERS_FILE))


def _advance(repository: Repository, state: Path, record: Journal) -> None:
    """Record the new version, now that the service has it, and set the index flags of resolved files again."""
    path = record.service + repository.answers_file
    staged = repository.staged(record.steps.keys() | {path})
    steps = {}
    for name, step in record.steps.items():
        now = staged.get(name, {}).get(0)
        # What a sparse checkout left out is on disk because of its conflict.
        if step.stages and step.flags and step.was is not None and now:
            steps[name] = Step(now, now, flags=step.flags)
    if record.facts.get("answers"):
        answered = staged.get(path, {}).get(0)
        if answered is None:
            command = join("git", "-C", str(repository.top), "checkout", record.head[:12], "--", path)
            raise RefusedError(f"{path} was deleted since the update; restore it (`{command}`) and go on.")
        after = _carried(repository, record, answered)
        if after != answered:
            steps[path] = Step(answered, after, flags=steps[path].flags if path in steps else [])
    with locks.index_locked(repository, state):
        worktree.prepare(repository, state, steps)
        edited = worktree.edited(repository, state, steps)
        if path in steps and (path in edited or steps[path].was is None):
            raise RefusedError(f"{path} was edited since the update; `git add` that, or restore it, and go on.")
        steps = {name: step for name, step in steps.items() if name == path or step.was == step.becomes}
        if steps:
            facts = record.facts | {"continued": True}
            going = Journal("applying", record.service, repository.head, steps, facts=facts)
            going.save(state)
            put_in_place(repository, state, going)
    journal.finish(state)


def _carried(repository: Repository, record: Journal, now: Entry) -> Entry:
    """Bring the new answers into the file as the user has it now."""
    old, new = (Entry(*raw) for raw in record.facts["answers"])
    # A journal of 0.3.3 holds only the new text.
    for text in record.facts.get("answers_texts") or [record.facts["answers_text"]]:
        repository.git("hash-object", "-w", "--stdin", stdin=text)
    if now == old:
        return new
    name, env = repository.answers_file, {"GIT_DIR": str(repository.git_dir)}
    contents = git.read_blobs([old.oid, new.oid, now.oid], env=env)
    before, after, user = ({name: contents[entry.oid]} for entry in (old, new, now))
    sides = adapt.Sides(before, after, user)
    adapt.answers_file(sides, name)
    if sides.old[name] == sides.user[name]:
        text = sides.new[name].decode(errors="surrogateescape")
        return Entry(now.mode, repository.git("hash-object", "-w", "--stdin", stdin=text))
    was, will, own = (_loaded(contents[entry.oid]) for entry in (old, new, now))
    wanted = {key: value for key, value in will.items() if key not in was or was[key] != value}
    missing = [f"{key}: {value}" for key, value in wanted.items() if own.get(key) != value]
    missing += [f"no {key}" for key in was.keys() - will.keys() if key in own]
    if missing:
        raise RefusedError(
            f"{record.service}{repository.answers_file} cannot be merged line by line. Write into it: "
            f"{', '.join(missing)}; then `git add` it and run this again."
        )
    return now


def _loaded(content: bytes) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(content)
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def abort(path: Path) -> Result:
    """Take an update back that has conflicts, or that was interrupted.

    Args:
        path: The service.

    Returns:
        What was done.

    Raises:
        RefusedError: There is nothing to take back, HEAD has moved, or files were edited since.
    """
    repository = Repository.around(path)
    with locks.locked(repository) as state:
        record = Journal.load(state)
        if record is None:
            raise RefusedError("there is no update to abort here.")
        told = from_journal(repository, record)
        done = Result(path=told.path, title=told.title)
        if record.facts.get("continued"):
            finish_interrupted(repository, state, record)
            return replace(done, notes=("It had been continued already, and is finished now.",))
        if forget_vanished(repository, state, record):
            return replace(done, notes=("Nothing of it was left; it is forgotten.",))
        if record.head != repository.head:
            raise RefusedError(
                f"HEAD has moved since '{told.title}': it is {repository.head[:12]} and was {record.head[:12]}. "
                "Nothing was touched."
            )
        _undo(repository, state, record)
        return replace(done, notes=("Taken back; everything is as it was.",))


def _undo(repository: Repository, state: Path, record: Journal) -> None:
    with locks.index_locked(repository, state), half_done(repository, state, record), uninterrupted():
        worktree.undo(repository, state, record)
    journal.finish(state)
