"""Continue or abort an update that has conflicts, and finish one that was interrupted."""

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
from quickset.updating.apply import apply_journal, explaining_failure, record_outcome
from quickset.updating.conflicts import find_unresolved, find_unstaged, forget_if_vanished
from quickset.updating.journal import Journal, Step
from quickset.updating.lockfile import update_lock_in_place
from quickset.updating.repository import Repository
from quickset.updating.result import Progress, UpdateResult, from_journal
from quickset.updating.scratch import BASE, OURS, THEIRS
from quickset.updating.tree import Entry

_WORD = re.compile(r"\w+|[^\w\s]")


def recorded_answers(path: Path, answers_file: str = "") -> dict[str, Any]:
    """Read the recorded answers of a service, before anything else is checked.

    Args:
        path: The service.
        answers_file: The answers file. If empty, it is searched for.

    Returns:
        The answers.

    Raises:
        UsageError: The folder is not a service.
        ConflictError: The file is damaged because an update is not finished.
        QuicksetError: The file is damaged.
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
    """Refuse to start while an update is not finished.

    Args:
        repository: The repository.
        state: The folder of the journal.

    Raises:
        ConflictError: An update is not finished.
    """
    if (unfinished := Journal.load(state)) and not forget_if_vanished(repository, state, unfinished):
        left = [path for path, step in unfinished.steps.items() if step.stages]
        title = from_journal(repository, unfinished).title
        if unfinished.phase == "conflicts" and left:
            unmerged = repository.unmerged(left)
            what = f"conflicts in {', '.join(unmerged)}" if unmerged else "resolved conflicts"
            raise ConflictError(
                f"{title}: {what}; continue with `quickset update --continue`, or undo it with `--abort`."
            )
        raise ConflictError(
            f"{title}: interrupted; finish it with `quickset update --continue`, or undo it with `--abort`."
        )


def begin_update(repository: Repository, state: Path) -> UpdateResult | None:
    """Check that an update can start. If an update was interrupted, finish that one instead.

    Args:
        repository: The repository.
        state: The folder of the journal.

    Returns:
        The result of the interrupted update; None if there is none.

    Raises:
        ConflictError: An update has conflicts.
        RefusedError: Another operation of git is in progress.
    """
    unfinished = Journal.load(state)
    if unfinished and unfinished.phase != "conflicts":
        return finish_interrupted(repository, state, unfinished)
    require_finished(repository, state)
    repository.require_quiet()
    return None


def finish_interrupted(repository: Repository, state: Path, record: Journal) -> UpdateResult:
    """Finish an update, or an abort, that was interrupted.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: The journal.

    Returns:
        The result, as the first run would have reported it.
    """
    result = from_journal(repository, record)
    if record.phase == "aborting":
        _undo(repository, state, record)
        return UpdateResult(
            path=result.path,
            title=result.title,
            notes=("The interrupted --abort was finished; everything is as it was.",),
        )
    if forget_if_vanished(repository, state, record):
        return UpdateResult(
            path=result.path, title=result.title, notes=("It was interrupted, and nothing of it is left.",)
        )
    with locks.index(repository, state):
        milliseconds = apply_journal(repository, state, record)
    record_outcome(state, record)
    conflicts = tuple(sorted(path.removeprefix(record.service) for path, step in record.steps.items() if step.stages))
    notes = ("It was interrupted, and is finished now.",)
    return replace(result, conflicts=conflicts, notes=notes, applied_ms=round(milliseconds, 1))


def resume(path: Path, *, lock: bool = True, progress: Progress = lambda _: nullcontext()) -> UpdateResult:
    """Continue an update after its conflicts are resolved, or after an interruption.

    Args:
        path: The service.
        lock: Update `uv.lock`.
        progress: Opens a context in which a long step is shown.

    Returns:
        The result of the update.

    Raises:
        RefusedError: There is no update to continue.
        ConflictError: Paths are unmerged, hold conflict markers, or are no longer staged.
    """
    repository = Repository.around(path)
    with locks.work_tree(repository) as state:
        record = Journal.load(state)
        if record is None:
            raise RefusedError("there is no update to continue here.")
        if record.phase != "conflicts":
            return finish_interrupted(repository, state, record)
        if forget_if_vanished(repository, state, record):
            raise RefusedError("nothing of the update is left here, so it was forgotten; run `quickset update` again.")
        paths = [path for path, step in record.steps.items() if step.stages]
        repository.require_merged(paths)
        _require_resolved(repository, record)
        result = from_journal(repository, record, _resolutions(repository, record))
        service = replace(repository, prefix=record.service, answers_file=_answers_file(record))
        _record_version(service, state, record)
        written = record.steps.get(record.service + LOCK)
        note = update_lock_in_place(service, progress, written) if lock else None
        return replace(result, notes=(*result.notes, *_displaced_files(service, record), *([note] if note else [])))


def _displaced_files(repository: Repository, record: Journal) -> Iterator[str]:
    """Describe the files that git renamed because a folder has their path, and that still exist."""
    # A journal of 0.3.3 does not list them.
    for place, path in record.facts.get("aside", {}).items():
        if os.path.lexists(repository.service / path):
            yield (
                f"{path} is still there: it was put next to the folder {place}/, which has its place. "
                "Move what you need of it elsewhere, then delete it."
            )


def _resolutions(repository: Repository, record: Journal) -> dict[str, dict[str, str]]:
    """Describe how the user resolved each conflict, and which changes the user undid: kind and note by path."""
    staged = repository.staged(record.steps)
    found = {}
    for path, step in record.steps.items():
        now = staged.get(path, {}).get(0)
        if step.stages:
            ours, template = step.stages.get(OURS), step.stages.get(THEIRS)
            kind = "removed" if now is None else "yours" if now == ours else "changed" if now == template else "merged"
            note = ""
            if now and kind == "merged" and _keeps_only_yours(repository, path, step.stages, now):
                kind, note = "yours", "nothing of the template's change is in it"
            found[path] = {"kind": kind, "note": note}
        elif now == step.before != step.after:
            found[path] = {"kind": "yours", "note": "you took the change back"}
    return found


def _keeps_only_yours(repository: Repository, path: str, sides: Mapping[int, Entry], now: Entry) -> bool:
    """Return whether a resolution has none of the words that the template added, and all that it removed."""
    if not {BASE, OURS, THEIRS} <= sides.keys():
        return False
    entries = (sides[BASE], sides[THEIRS], sides[OURS], now)
    old, new, mine, resolved = (Counter(_WORD.findall(repository.as_on_disk(entry, path))) for entry in entries)
    return not ((new - old) & (resolved - mine)) and not ((old - new) & (mine - resolved))


def _require_resolved(repository: Repository, record: Journal) -> None:
    """Refuse to continue while conflict markers are left, or while parts of the update are not staged."""
    if left := find_unresolved(repository, record):
        raise ConflictError(f"conflict markers are left in {', '.join(left)}; resolve, `git add`, and run this again.")
    if left := find_unstaged(repository, record):
        raise ConflictError(
            f"no longer staged: {', '.join(left)}. `git add` what you want of the update, `git restore` the rest, and "
            "run this again."
        )


def _answers_file(record: Journal) -> str:
    # A journal of 0.3.3 and before does not name it.
    return str(record.facts.get("answers_file", ANSWERS_FILE))


def _record_version(repository: Repository, state: Path, record: Journal) -> None:
    """Record the new version in the answers file, and set the index flags of resolved files again."""
    path = record.service + repository.answers_file
    staged = repository.staged(record.steps.keys() | {path})
    steps = {}
    for name, step in record.steps.items():
        now = staged.get(name, {}).get(0)
        # A file that a sparse checkout leaves out is on disk because of its conflict.
        if step.stages and step.flags and step.was is not None and now:
            steps[name] = Step(now, now, flags=step.flags)
    if record.facts.get("answers"):
        answered = staged.get(path, {}).get(0)
        if answered is None:
            command = join("git", "-C", str(repository.top), "checkout", record.head[:12], "--", path)
            raise RefusedError(f"{path} was deleted since the update; restore it (`{command}`) and run this again.")
        after = _merged_answers(repository, record, answered)
        if after != answered:
            steps[path] = Step(answered, after, flags=steps[path].flags if path in steps else [])
    with locks.index(repository, state):
        worktree.prepare(repository, state, steps)
        edited = worktree.find_edited(repository, state, steps)
        if path in steps and (path in edited or steps[path].was is None):
            raise RefusedError(
                f"{path} was edited since the update; `git add` that, or restore it, and run this again."
            )
        steps = {name: step for name, step in steps.items() if name == path or step.was == step.becomes}
        if steps:
            facts = record.facts | {"continued": True}
            going = Journal("applying", record.service, repository.head, steps, facts=facts)
            going.save(state)
            apply_journal(repository, state, going)
    journal.finish(state)


def _merged_answers(repository: Repository, record: Journal, now: Entry) -> Entry:
    """Merge the new answers into the staged answers file."""
    old, new = (Entry(*raw) for raw in record.facts["answers"])
    # A journal of 0.3.3 has only the new text.
    for text in record.facts.get("answers_texts") or [record.facts["answers_text"]]:
        repository.git("hash-object", "-w", "--stdin", stdin=text)
    if now == old:
        return new
    name, env = repository.answers_file, {"GIT_DIR": str(repository.git_dir)}
    contents = git.read_blobs([old.oid, new.oid, now.oid], env=env)
    before, after, user = ({name: contents[entry.oid]} for entry in (old, new, now))
    inputs = adapt.MergeInputs(before, after, user)
    adapt.answers_file(inputs, name)
    if inputs.old[name] == inputs.user[name]:
        text = inputs.new[name].decode(errors="surrogateescape")
        return Entry(now.mode, repository.git("hash-object", "-w", "--stdin", stdin=text))
    old_answers, new_answers, own = (_loaded(contents[entry.oid]) for entry in (old, new, now))
    wanted = {key: value for key, value in new_answers.items() if key not in old_answers or old_answers[key] != value}
    missing = [f"{key}: {value}" for key, value in wanted.items() if own.get(key) != value]
    missing += [f"no {key}" for key in old_answers.keys() - new_answers.keys() if key in own]
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


def abort(path: Path) -> UpdateResult:
    """Undo an update that has conflicts, or that was interrupted.

    Args:
        path: The service.

    Returns:
        The title of the update, and a note.

    Raises:
        RefusedError: There is no update to undo, HEAD has moved, or files were edited since.
    """
    repository = Repository.around(path)
    with locks.work_tree(repository) as state:
        record = Journal.load(state)
        if record is None:
            raise RefusedError("there is no update to abort here.")
        result = from_journal(repository, record)
        done = UpdateResult(path=result.path, title=result.title)
        if record.facts.get("continued"):
            finish_interrupted(repository, state, record)
            return replace(done, notes=("It was continued already, and is finished now.",))
        if forget_if_vanished(repository, state, record):
            return replace(done, notes=("Nothing of it was left, so there was nothing to undo.",))
        if record.head != repository.head:
            raise RefusedError(
                f"HEAD has moved since '{result.title}': it is {repository.head[:12]} and was {record.head[:12]}. "
                "Nothing was touched."
            )
        _undo(repository, state, record)
        return replace(done, notes=("Undone; everything is as it was.",))


def _undo(repository: Repository, state: Path, record: Journal) -> None:
    with locks.index(repository, state), explaining_failure(repository, state, record), uninterrupted():
        worktree.undo(repository, state, record)
    journal.finish(state)
