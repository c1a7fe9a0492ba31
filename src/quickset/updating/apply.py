"""Change the index and the work tree as planned."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickset import git
from quickset.errors import QuicksetError, RefusedError, os_reason
from quickset.shell import join
from quickset.signals import uninterrupted
from quickset.updating import journal, locks, merge, worktree
from quickset.updating.conflicts import forget_vanished, markers
from quickset.updating.journal import Journal, Step
from quickset.updating.plan import Planned
from quickset.updating.repository import Repository, is_file, require_committed
from quickset.updating.result import Result, to_journal
from quickset.updating.scratch import OLD, THEIRS


def carry_out(plan: Planned, state: Path) -> Result:
    """Change index and work tree as planned; nothing is committed.

    Args:
        plan: The plan.
        state: The folder of the journal.

    Returns:
        What was done.

    Raises:
        RefusedError: Something that is not committed is in the way; nothing was touched.
    """
    repository, merged = plan.repository, plan.merged
    if not merged.after:
        return plan.result
    steps = {
        repository.prefix + path: Step(merged.before.get(path), after, merged.stages.get(path, {}))
        for path, after in merged.after.items()
    }
    facts: dict[str, Any] = {
        "answers_file": repository.answers_file,
        "answers": None,
        "aside": plan.merged.aside,
        "result": to_journal(replace(plan.result, notes=plan.lasting)),
    }
    if merged.stages:
        facts |= _hold_back(plan, steps)
    with locks.index_locked(repository, state):
        require_committed(repository.touched(merged.after))
        plan.work.hand_over(merge.all_objects(merged), repository)
        _note_markers(repository, steps)
        worktree.prepare(repository, state, steps)
        edited = worktree.edited(repository, state, steps)
        require_committed(edited, _why_hidden(repository, {path: steps[path].flags for path in edited}))
        if repository.git("rev-parse", "HEAD") != repository.head:
            raise RefusedError("HEAD has moved meanwhile; run the command again. Nothing was touched.")
        record = Journal("applying", repository.prefix, repository.head, steps, facts=facts)
        record.save(state)
        milliseconds = put_in_place(repository, state, record)
    settle(state, record)
    return replace(plan.result, applied_ms=round(milliseconds, 1))


def _hold_back(plan: Planned, steps: dict[str, Step]) -> dict[str, Any]:
    """Return for the journal what `--continue` records: the service counts as updated once conflicts are resolved."""
    path = plan.repository.prefix + plan.repository.answers_file
    if sides := plan.merged.stages.get(plan.repository.answers_file):
        old, new = sides.get(OLD), sides.get(THEIRS)
    else:
        step = steps.pop(path, None)
        old, new = (step.before, step.after) if step else (None, None)
    if not old or not new:
        return {}
    # Nothing refers to these objects until then, so that git may tidy them away.
    texts = plan.work.read({"old": old, "new": new}, ["old", "new"])
    return {"answers": [old, new], "answers_texts": [text.decode(errors="surrogateescape") for text in texts.values()]}


def _note_markers(repository: Repository, steps: Mapping[str, Step]) -> None:
    """Note the lines of each conflict's sides that look like markers, for `--continue`, which looks for markers."""
    for path, step in steps.items():
        sides = [side for number, side in step.stages.items() if number != OLD and is_file(side)]
        step.alike = dict(markers(repository.as_on_disk(side, path) for side in sides))


def put_in_place(repository: Repository, state: Path, record: Journal) -> float:
    """Carry a journal out, held up by no signal."""
    with half_done(repository, state, record), uninterrupted():
        return worktree.apply(repository, state, record)


@contextmanager
def half_done(repository: Repository, state: Path, record: Journal) -> Iterator[None]:
    """Say how to go on when the system refuses half-way."""
    try:
        yield
    except (OSError, git.GitError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error).rstrip(".")
        if forget_vanished(repository, state, record):
            raise QuicksetError(f"{reason}. Nothing was touched.") from error
        raise QuicksetError(
            f"{reason}. The update is half done: fix that, then `quickset update --continue` finishes it "
            "and `--abort` undoes it."
        ) from error


def _why_hidden(repository: Repository, flags: Mapping[str, Iterable[str]]) -> str:
    """Say how to see the edits of files that flags of the index hide; empty when none has a flag."""
    flagged: dict[str, list[str]] = {}
    for path, names in flags.items():
        for name in names:
            flagged.setdefault(name, []).append(path)
    if not flagged:
        return ""
    # git takes one of these options for each call.
    begin = ("git", "-C", str(repository.top), "update-index")
    shown = [f"`{join(*begin, f'--no-{name}', '--', *paths)}`" for name, paths in flagged.items()]
    hidden = ", ".join(path for path, names in flags.items() if names)
    return f" `git status` hides {hidden}; to show it, run {' and '.join(shown)}."


def settle(state: Path, record: Journal) -> None:
    """Say in the journal that everything is in place: it is over, or waits for conflicts to be resolved.

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
