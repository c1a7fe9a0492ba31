"""Compare an unfinished update with the index and the work tree: is it resolved, or gone?"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from quickset.updating import journal
from quickset.updating.journal import Journal
from quickset.updating.repository import Repository
from quickset.updating.tree import Entry
from quickset.updating.worktree import digest

# Every conflict style. A separator has exactly seven characters, because headings are underlined with more.
_MARKER = re.compile(r"^(?:(?:<{7,}|>{7,}|\|{7,})(?: .*)?|={7})\r?$", re.MULTILINE)


def has_vanished(repository: Repository, record: Journal) -> bool:
    """Return whether nothing of an unfinished update is left, as after `git reset --hard`.

    Args:
        repository: The repository.
        record: The record.

    Returns:
        Whether the index and the work tree hold none of its changes and no conflict of it was resolved.
    """
    staged = repository.staged(record.steps)
    conflicts = {path: step for path, step in record.steps.items() if step.stages}
    if any(staged.get(path, {}).keys() - {0} for path in conflicts):
        return False
    applied, restored = [], []
    for path, step in record.steps.items():
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
    # Git keeps the sides of a resolved conflict, even after a commit, and drops them in a reset.
    resolved = repository.staged(conflicts, resolved=True)
    if any(resolved.get(path) == step.stages for path, step in conflicts.items()):
        # Git keeps them after `git checkout HEAD -- .`, too.
        return repository.head != record.head and bool(restored) and all(restored)
    answers = record.facts.get("answers")
    path = record.service + str(record.facts.get("answers_file"))
    if conflicts and answers and repository.staged([path]).get(path) == {0: Entry(*answers[1])}:
        # The same update came from another branch by a merge.
        return True
    # A checkout of another branch drops the sides, too, and keeps all other changes of the update. The user may have
    # made a single change again by hand.
    return not (applied and all(applied) if conflicts else any(applied))


def forget_if_vanished(repository: Repository, state: Path, record: Journal) -> bool:
    """Delete the journal of an update if nothing of the update is left.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: The journal.

    Returns:
        Whether it was deleted.
    """
    if record.facts.get("continued") or not has_vanished(repository, record):
        return False
    journal.finish(state)
    return True


def find_unresolved(repository: Repository, record: Journal) -> list[str]:
    """Find conflicts that are unchanged, or that still have markers.

    Args:
        repository: The repository.
        record: The journal of an update with conflicts. None of them is unmerged any more.

    Returns:
        The paths.
    """
    conflicts = {path: step for path, step in record.steps.items() if step.stages}
    staged = {path: found[0] for path, found in repository.staged(conflicts).items() if 0 in found}
    found = []
    for path, step in conflicts.items():
        entry, file = staged.get(path), repository.top / path
        written = step.after is not None and step.after.oid not in {side.oid for side in step.stages.values()}
        texts = [repository.as_on_disk(entry, path)] if entry else []
        if file.is_file() and not file.is_symlink():
            texts.append(file.read_bytes().decode(errors="surrogateescape"))
        left = any(count_markers([text]) - Counter(step.alike) for text in texts)
        if left or (written and entry and step.after and entry.oid == step.after.oid):
            found.append(path)
    return found


def find_unstaged(repository: Repository, record: Journal) -> list[str]:
    """Find changes that are in the work tree and no longer in the index, as after `git reset`.

    Args:
        repository: The repository.
        record: The record.

    Returns:
        Their paths.
    """
    staged = repository.staged(record.steps)
    return [
        path
        for path, step in record.steps.items()
        if not step.stages
        and step.before != step.after
        and staged.get(path, {}) == ({0: step.before} if step.before else {})
        and step.was != step.becomes
        and digest(repository.top / path) == step.becomes
    ]


def count_markers(texts: Iterable[str]) -> Counter[str]:
    """Count the lines that look like conflict markers.

    Args:
        texts: The contents of files.

    Returns:
        The number of each such line.
    """
    return Counter(found.removesuffix("\r") for text in texts for found in _MARKER.findall(text))
