"""`quickset diff` and `quickset update`: a newer template, merged into what the user made of an older one."""

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from quickset.errors import ConflictError, UsageError
from quickset.templates import answers, source, upgrades
from quickset.templates.answers_file import find_answers_file, read_answers
from quickset.templates.questions import load_questions
from quickset.templates.source import Source
from quickset.updating import locks
from quickset.updating.apply import carry_out
from quickset.updating.branch import commit
from quickset.updating.journal import Journal
from quickset.updating.plan import Goal, checked_answers, no_longer_valid, planned, with_patch
from quickset.updating.recover import abort, finish_interrupted, recorded_answers, require_finished, resume
from quickset.updating.repository import Repository
from quickset.updating.result import Progress, Result
from quickset.updating.summary import as_markdown

__all__ = ["Request", "Result", "abort", "preview", "resume", "update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    path: Path = Path()
    answers_file: str = ""
    """Empty to look for it."""
    to: str | None = None
    template: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """Answers to new questions."""
    ask: bool = False
    """Put new questions to the user; else they take their absent values."""
    fix_imports: bool = False
    """Rewrite the owner's imports of what was renamed."""
    lock: bool = True
    branch: str | None = None
    """Commit there, and leave index and work tree alone."""


def preview(
    request: Request,
    *,
    template_source: Source | None = None,
    progress: Progress = lambda _: nullcontext(),
    colour: bool = False,
) -> Result:
    """Work out what an update would do.

    Args:
        request: The update.
        template_source: Where the template comes from; by default where the service says.
        progress: Opens a context in which the user sees what takes long.
        colour: Draw the difference with the terminal's colours.

    Returns:
        What it would do, with the difference.

    Raises:
        UsageError: There is no service, or no such version.
        RefusedError: The repository or the recorded version forbids it.
        QuicksetError: The recorded answers are damaged, or something failed.
    """
    recorded_answers(request.path, request.answers_file)
    repository = _repository(request)
    require_finished(repository, repository.state)
    goal = goal_of(request, template_source)
    if goal is None:
        return _current(request)
    with planned(repository, goal, lock=False, progress=progress) as plan:
        return with_patch(plan, colour=colour)


def update(
    request: Request, *, template_source: Source | None = None, progress: Progress = lambda _: nullcontext()
) -> Result:
    """Pull a newer template into a service, staged and not committed, or committed on a branch of its own.

    Args:
        request: What to do.
        template_source: Where the template comes from; by default where the service says.
        progress: Opens a context in which the user sees what takes long.

    Returns:
        What was done.

    Raises:
        UsageError: There is no service, or no such version.
        ConflictError: An earlier update has conflicts left.
        RefusedError: The repository or the recorded version forbids it; nothing was touched.
        QuicksetError: The recorded answers are damaged, or something failed.
    """
    # First of all: in the wrong folder that is what to say, and nothing about its repository.
    with suppress(ConflictError):
        recorded_answers(request.path, request.answers_file)
    repository = _repository(request)
    with locks.locked(repository) as state:
        unfinished = Journal.load(state)
        if unfinished and unfinished.phase != "conflicts":
            return finish_interrupted(repository, state, unfinished)
        require_finished(repository, state)
        repository.require_quiet()
        goal = goal_of(request, template_source)
        if goal is None:
            return _current(request)
        with planned(repository, goal, lock=request.lock, progress=progress) as plan:
            if request.branch:
                return commit(plan, request.branch, f"{goal.title}\n\n{_body(plan.result)}")
            return carry_out(plan, state)


def goal_of(request: Request, template_source: Source | None) -> Goal | None:
    """Say what an update is to make of a service.

    Args:
        request: The update.
        template_source: Where the template comes from; by default where the service says.

    Returns:
        The goal; None when the service is there already.

    Raises:
        UsageError: There is no service, no such version, or the version is older.
        RefusedError: The recorded version is not known.
        QuicksetError: The recorded answers are damaged.
    """
    answers_file = find_answers_file(request.path, request.answers_file)
    recorded = read_answers(request.path, answers_file)
    origin = template_source or source.of(str(recorded["_src_path"]), template=request.template)
    before, after = origin.recorded(str(recorded["_commit"])), origin.template(request.to).for_update()
    if before.ref == after.ref:
        return None
    if _older(after.version, before.version):
        if request.to is None:
            return None
        raise UsageError(f"--to: {after.ref} is older than {before.ref}, which the service has.")
    old, old_questions = checked_answers(request.path, before, answers_file)
    # Releases that came before the file are told of by a newer one's.
    known = upgrades.load(after.read(upgrades.FILE) or origin.template().read(upgrades.FILE))
    carried = known.carry(old, before.version, after.version)
    questions = load_questions(after.config())
    new = {name: value for name, value in carried.items() if name in questions and not questions[name].hidden}
    fresh = [
        name
        for name, question in questions.items()
        if question.settable and name not in new and name not in old_questions
    ]
    given = answers.check(questions, request.data)
    invalid = answers.faults(questions, new)
    settled = sorted(
        name
        for name in new.keys() & given.keys() - invalid.keys()
        if name in old_questions and questions[name].takes_the_same_as(old_questions[name])
    )
    if settled:
        raise UsageError(f"--data: '{settled[0]}' is answered already; change it with `quickset add` or `remove`.")
    fresh = [name for name in fresh if name not in given]
    recorded_since = (name for name, question in questions.items() if question.internal and name not in old_questions)
    absent = {name: known.absent(name) for name in (*fresh, *recorded_since)}
    for name in invalid.keys() - given.keys():
        if not request.ask:
            raise no_longer_valid(name, new[name], after, invalid[name])
        del new[name]
        fresh.append(name)
    # A secret is in the service's files, not among its answers.
    secrets = {name: value for name, value in given.items() if name in old_questions and questions[name].secret}
    return Goal(
        title=f"Update {_name(old)}from template {before.ref} to {after.ref}",
        label=after.ref,
        before=before,
        after=after,
        old={**old, **secrets},
        new={**new, **given},
        given=frozenset(given),
        required=tuple(given),
        fresh=tuple(fresh),
        ask=request.ask,
        proposals={name: value for name, value in absent.items() if value is not None},
        deploy=lambda final: (
            *known.before_deploy(before.version, after.version, final),
            *known.on_change(carried, final),
        ),
        names=lambda final: known.names(before.version, after.version, final),
        fix_imports=request.fix_imports,
    )


def _repository(request: Request) -> Repository:
    return Repository.around(request.path, find_answers_file(request.path, request.answers_file))


def _older(version: str, other: str) -> bool:
    try:
        return Version(version) < Version(other)
    except InvalidVersion:
        # A branch of somebody's template: what is asked for is what is wanted.
        return False


def _name(recorded: Mapping[str, Any]) -> str:
    return f"{recorded['project_name']} " if "project_name" in recorded else ""


def _current(request: Request) -> Result:
    version = str(recorded_answers(request.path, request.answers_file)["_commit"])
    note = f"Nothing to do: the service has {version}, the newest that this quickset knows."
    return Result(path=request.path.resolve(), before=version, after=version, notes=(note,))


def _body(result: Result) -> str:

    return as_markdown(result)
