"""`quickset diff` and `quickset update`: update a service to a newer template."""

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
from quickset.updating.apply import apply_update
from quickset.updating.branch import commit_to_branch
from quickset.updating.plan import UpdatePlan, checked_answers, invalid_answer, prepare_update, with_patch
from quickset.updating.recover import abort, begin_update, recorded_answers, require_finished, resume
from quickset.updating.repository import Repository
from quickset.updating.result import Progress, UpdateResult
from quickset.updating.summary import as_markdown

__all__ = ["Request", "UpdateResult", "abort", "preview", "resume", "update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of an update."""

    path: Path = Path()
    answers_file: str = ""
    """The answers file. If empty, it is searched for."""
    to: str | None = None
    template: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """Answers to new questions."""
    ask: bool = False
    """Put new questions to the user. Otherwise they take the answers under which nothing changes."""
    fix_imports: bool = False
    """Rewrite the owner's imports of renamed modules."""
    lock: bool = True
    branch: str | None = None
    """Commit to this branch, and change neither the index nor the work tree."""


def preview(
    request: Request,
    *,
    template_source: Source | None = None,
    progress: Progress = lambda _: nullcontext(),
    color: bool = False,
) -> UpdateResult:
    """Compute what an update would do.

    Args:
        request: The update.
        template_source: The source of the template. By default, the recorded one.
        progress: Opens a context in which a long step is shown.
        color: Use the colors of the terminal in the difference.

    Returns:
        The result that the update would have, with the difference.

    Raises:
        UsageError: The folder is not a service, or the version does not exist.
        RefusedError: The state of the repository, or the recorded version, does not allow it.
        QuicksetError: The recorded answers are damaged, or a step failed.
    """
    recorded_answers(request.path, request.answers_file)
    repository = _repository(request)
    require_finished(repository, repository.state)
    plan = plan_update(request, template_source)
    if plan is None:
        return _current(request)
    with prepare_update(repository, plan, lock=False, progress=progress) as prepared:
        return with_patch(prepared, color=color)


def update(
    request: Request, *, template_source: Source | None = None, progress: Progress = lambda _: nullcontext()
) -> UpdateResult:
    """Update a service: stage the changes, or commit them to a branch.

    Args:
        request: The update.
        template_source: The source of the template. By default, the recorded one.
        progress: Opens a context in which a long step is shown.

    Returns:
        The result of the update.

    Raises:
        UsageError: The folder is not a service, or the version does not exist.
        ConflictError: An earlier update is not finished.
        RefusedError: The state of the repository, or the recorded version, does not allow it. Nothing was changed.
        QuicksetError: The recorded answers are damaged, or a step failed.
    """
    # In a wrong folder, the error is about the folder, and not about its repository.
    with suppress(ConflictError):
        recorded_answers(request.path, request.answers_file)
    repository = _repository(request)
    with locks.work_tree(repository) as state:
        if finished := begin_update(repository, state):
            return finished
        plan = plan_update(request, template_source)
        if plan is None:
            return _current(request)
        with prepare_update(repository, plan, lock=request.lock, progress=progress) as prepared:
            if request.branch:
                return commit_to_branch(prepared, request.branch, f"{plan.title}\n\n{as_markdown(prepared.result)}")
            return apply_update(prepared, state)


def plan_update(request: Request, template_source: Source | None) -> UpdatePlan | None:
    """Plan an update from the request and the recorded answers.

    Args:
        request: The update.
        template_source: The source of the template. By default, the recorded one.

    Returns:
        The plan; None if the service has that version already.

    Raises:
        UsageError: The folder is not a service, or the version does not exist or is older.
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
    # A release without this file is described in that of a newer release.
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
    invalid = answers.find_invalid(questions, new)
    settled = sorted(
        name
        for name in new.keys() & given.keys() - invalid.keys()
        if name in old_questions and questions[name].accepts_same_as(old_questions[name])
    )
    if settled:
        raise UsageError(f"--data: '{settled[0]}' is answered already; change it with `quickset add` or `remove`.")
    fresh = [name for name in fresh if name not in given]
    recorded_since = (name for name, question in questions.items() if question.internal and name not in old_questions)
    absent = {name: known.absent(name) for name in (*fresh, *recorded_since)}
    for name in invalid.keys() - given.keys():
        if not request.ask:
            raise invalid_answer(name, new[name], after, invalid[name])
        del new[name]
        fresh.append(name)
    # A secret is not recorded, but it is in the files of the service.
    secrets = {name: value for name, value in given.items() if name in old_questions and questions[name].secret}
    return UpdatePlan(
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
        renames=lambda final: known.renames(before.version, after.version, final),
        fix_imports=request.fix_imports,
    )


def _repository(request: Request) -> Repository:
    return Repository.around(request.path, find_answers_file(request.path, request.answers_file))


def _older(version: str, other: str) -> bool:
    try:
        return Version(version) < Version(other)
    except InvalidVersion:
        # A branch of a third-party template has no order, so it is not called older.
        return False


def _name(recorded: Mapping[str, Any]) -> str:
    return f"{recorded['project_name']} " if "project_name" in recorded else ""


def _current(request: Request) -> UpdateResult:
    version = str(recorded_answers(request.path, request.answers_file)["_commit"])
    note = f"Nothing to do: the service has {version}, the newest that this quickset knows."
    return UpdateResult(path=request.path.resolve(), before=version, after=version, notes=(note,))
