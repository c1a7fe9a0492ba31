"""Put a prepared update in place: change the work tree and the index, and commit nothing."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickset import git
from quickset.errors import QuicksetError, RefusedError, os_reason
from quickset.shell import join
from quickset.signals import uninterrupted
from quickset.updating import journal, locks, worktree
from quickset.updating.conflicts import count_markers, forget_if_vanished
from quickset.updating.journal import Journal, Step
from quickset.updating.merge import needed_objects
from quickset.updating.plan import PreparedUpdate
from quickset.updating.repository import Repository, require_committed
from quickset.updating.result import UpdateResult, to_journal
from quickset.updating.scratch import BASE, THEIRS
from quickset.updating.tree import is_file


def apply_update(update: PreparedUpdate, state: Path) -> UpdateResult:
    """Change the index and the work tree. Nothing is committed.

    Args:
        update: The update.
        state: The folder of the journal.

    Returns:
        The result of the update.

    Raises:
        RefusedError: Uncommitted changes are in the way. Nothing was changed.
    """
    repository, merged = update.repository, update.merged
    if not merged.after:
        return update.result
    steps = {
        repository.prefix + path: Step(merged.before.get(path), after, merged.stages.get(path, {}))
        for path, after in merged.after.items()
    }
    facts: dict[str, Any] = {
        "answers_file": repository.answers_file,
        "answers": None,
        # Earlier versions read this name, too.
        "aside": merged.displaced,
        "result": to_journal(replace(update.result, notes=update.lasting_notes)),
    }
    if merged.stages:
        facts |= _hold_back_answers(update, steps)
    with locks.index(repository, state):
        require_committed(repository.touched(merged.after))
        update.scratch.copy_objects_to(needed_objects(merged), repository)
        _note_markers(repository, steps)
        worktree.prepare(repository, state, steps)
        edited = worktree.find_edited(repository, state, steps)
        require_committed(edited, _how_to_show_hidden(repository, {path: steps[path].flags for path in edited}))
        if repository.git("rev-parse", "HEAD") != repository.head:
            raise RefusedError("HEAD has moved meanwhile; run the command again. Nothing was touched.")
        record = Journal("applying", repository.prefix, repository.head, steps, facts=facts)
        record.save(state)
        milliseconds = apply_journal(repository, state, record)
    record_outcome(state, record)
    return replace(update.result, applied_ms=round(milliseconds, 1))


def _hold_back_answers(update: PreparedUpdate, steps: dict[str, Step]) -> dict[str, Any]:
    """Take the new answers out of an update with conflicts. Return what `--continue` needs to record them."""
    path = update.repository.prefix + update.repository.answers_file
    if sides := update.merged.stages.get(update.repository.answers_file):
        old, new = sides.get(BASE), sides.get(THEIRS)
    else:
        step = steps.pop(path, None)
        old, new = (step.before, step.after) if step else (None, None)
    if not old or not new:
        return {}
    # Until then nothing refers to these objects, so git may remove them.
    texts = update.scratch.read_files({"old": old, "new": new}, ["old", "new"])
    return {"answers": [old, new], "answers_texts": [text.decode(errors="surrogateescape") for text in texts.values()]}


def _note_markers(repository: Repository, steps: Mapping[str, Step]) -> None:
    """Note lines that look like conflict markers and are not, because `--continue` searches for markers."""
    for path, step in steps.items():
        sides = [side for number, side in step.stages.items() if number != BASE and is_file(side)]
        step.alike = dict(count_markers(repository.as_on_disk(side, path) for side in sides))


def apply_journal(repository: Repository, state: Path, record: Journal) -> float:
    """Carry out the steps of a journal, and let no signal interrupt them.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: The journal.

    Returns:
        The milliseconds for which the work tree was between both states.

    Raises:
        QuicksetError: The system refused a step. The message says how to continue.
    """
    with explaining_failure(repository, state, record), uninterrupted():
        return worktree.apply(repository, state, record)


@contextmanager
def explaining_failure(repository: Repository, state: Path, record: Journal) -> Iterator[None]:
    """Report how to continue when the system refuses a step half-way.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: The journal.

    Yields:
        Nothing.

    Raises:
        QuicksetError: The system refused a step.
    """
    try:
        yield
    except (OSError, git.GitError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error).rstrip(".")
        if forget_if_vanished(repository, state, record):
            raise QuicksetError(f"{reason}. Nothing was touched.") from error
        raise QuicksetError(
            f"{reason}. The update is half done: fix that, then `quickset update --continue` finishes it "
            "and `--abort` undoes it."
        ) from error


def _how_to_show_hidden(repository: Repository, flags: Mapping[str, Iterable[str]]) -> str:
    """Say how to show edits that index flags hide. Return an empty text if no file has a flag."""
    flagged: dict[str, list[str]] = {}
    for path, names in flags.items():
        for name in names:
            flagged.setdefault(name, []).append(path)
    if not flagged:
        return ""
    # A call of git takes only one of these options.
    begin = ("git", "-C", str(repository.top), "update-index")
    shown = [f"`{join(*begin, f'--no-{name}', '--', *paths)}`" for name, paths in flagged.items()]
    hidden = ", ".join(path for path, names in flags.items() if names)
    return f" `git status` hides {hidden}; to show it, run {' and '.join(shown)}."


def record_outcome(state: Path, record: Journal) -> None:
    """Record that every step is done. An update without conflicts is finished then.

    Args:
        state: The folder of the journal.
        record: The journal.
    """
    if any(step.stages for step in record.steps.values()):
        record.phase = "conflicts"
        record.save(state)
        journal.clean(state)
    else:
        journal.finish(state)
