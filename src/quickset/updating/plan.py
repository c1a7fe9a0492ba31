"""Plan an update: render both versions of a service, and merge them with what its owner committed.

A plan changes nothing. `apply.py` puts it in place, and `branch.py` commits it to a branch.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickset.errors import AnswerError, QuicksetError, UsageError, writing
from quickset.signals import temporary_folder
from quickset.templates import answers
from quickset.templates.answers_file import read_answers
from quickset.templates.questions import Question, load_questions
from quickset.templates.render import Rendered, renderer
from quickset.templates.template import Template
from quickset.templates.upgrades import DeployNote, Renames
from quickset.updating import references
from quickset.updating.changes import Change
from quickset.updating.lockfile import update_lock
from quickset.updating.merge import MergeResult, merge
from quickset.updating.references import Reference
from quickset.updating.repository import Repository, require_committed
from quickset.updating.result import Progress, UpdateResult
from quickset.updating.scratch import ScratchRepository, scratch_repository

_EXAMPLE = ".env.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """The two versions of a service between which an update leads."""

    title: str
    """One line for the terminal and for a commit."""
    label: str
    """The name of the new version in conflict markers."""
    before: Template
    after: Template
    old: Mapping[str, Any]
    """The answers that the service has."""
    new: Mapping[str, Any]
    """The answers that are known for the new version. The others are asked or proposed."""
    given: frozenset[str] = frozenset()
    """The questions whose new answers are given by the user, and not recorded."""
    required: tuple[str, ...] = ()
    """The questions that no condition may rule out."""
    fresh: tuple[str, ...] = ()
    """New questions without an answer."""
    ask: bool = False
    """Put the new questions to the user."""
    proposals: Mapping[str, Any] = field(default_factory=dict)
    """The answers to propose for new questions, or to take if nothing is asked."""
    deploy: Callable[[Mapping[str, Any]], tuple[DeployNote, ...]] = lambda _: ()
    """Return what to know before a deploy, from the new answers."""
    renames: Callable[[Mapping[str, Any]], tuple[Renames, ...]] = lambda _: ()
    """Return the moves and renames of the releases in between, the oldest first, from the new answers."""
    fix_imports: bool = False
    """Rewrite the owner's imports of renamed modules."""
    next_steps: Callable[[Mapping[str, Any], MergeResult], tuple[str, ...]] = lambda _answers, _merged: ()
    """Return the commands to run after the update."""


@dataclass(frozen=True, slots=True)
class PreparedUpdate:
    """An update that is merged, and not yet put in place."""

    repository: Repository
    scratch: ScratchRepository
    merged: MergeResult
    result: UpdateResult
    answers: Mapping[str, Any]
    lasting_notes: tuple[str, ...] = ()
    """The notes that still apply after conflicts are resolved."""


@contextmanager
def prepare_update(
    repository: Repository, plan: UpdatePlan, *, lock: bool, progress: Progress = lambda _: nullcontext()
) -> Iterator[PreparedUpdate]:
    """Render and merge both versions. Nothing in the user's repository changes.

    Args:
        repository: The repository of the service.
        plan: The update.
        lock: Update `uv.lock`.
        progress: Opens a context in which a long step is shown.

    Yields:
        The merged update, which exists until the context ends.

    Raises:
        QuicksetError: The update is not possible. The message says why.
    """
    # The answers are read from the file, and merged into the committed one.
    require_committed(repository.touched([repository.answers_file]))
    with temporary_folder() as folder:
        old, new = (Path(folder, side, repository.service.name) for side in ("old", "new"))
        with writing(folder), progress("Rendering") if not plan.ask else nullcontext():
            recorded, rendered = _render(plan, old, new, repository.answers_file)
        _require_same_answers(plan, recorded, repository.answers_file)
        given = rendered.answers
        answers.check_asked(load_questions(plan.after.config()), plan.required, given, rendered.ruled_out)
        with scratch_repository(repository) as scratch:
            renames = plan.renames(given)
            with writing(scratch.folder):
                merged = merge(
                    scratch,
                    repository,
                    old=old,
                    new=new,
                    label=plan.label,
                    is_written_once=rendered.is_written_once,
                    moves=[release.files for release in renames],
                )
                found = _find_references(scratch, merged, renames, fix=plan.fix_imports)
                trusted = not plan.after.is_third_party
                if lock and (note := update_lock(scratch, repository, merged, progress, trusted=trusted)):
                    merged.notes.append(note)
            settings = _settings_note(scratch, repository, merged)
            result = UpdateResult(
                path=repository.service,
                title=plan.title,
                before=plan.before.ref,
                after=plan.after.ref,
                changes=tuple(merged.changes),
                conflicts=tuple(sorted(merged.stages)),
                absent={} if plan.ask else {name: given[name] for name in plan.fresh if name in given},
                deploy=plan.deploy(given),
                notes=(*plan.after.notes, *merged.notes, *settings),
                references=tuple(found),
                next_steps=plan.next_steps(given, merged),
            )
            yield PreparedUpdate(repository, scratch, merged, result, given, settings)


def _find_references(
    scratch: ScratchRepository, merged: MergeResult, renames: Sequence[Renames], *, fix: bool
) -> list[Reference]:
    """Find the owner's lines that use old names. With `fix`, rewrite the imports among them."""
    if not renames:
        return []
    found, rewritten = references.find(scratch, merged, renames, fix=fix)
    known = {change.path: number for number, change in enumerate(merged.changes)}
    for path in rewritten:
        if path in known:
            change = merged.changes[known[path]]
            note = "; ".join(filter(None, [change.note, "imports rewritten"]))
            merged.changes[known[path]] = replace(change, note=note)
        else:
            merged.changes.append(Change(path, "rewritten"))
    merged.changes.sort(key=lambda change: change.path)
    return found


def _render(plan: UpdatePlan, old: Path, new: Path, answers_file: str) -> tuple[dict[str, Any], Rendered]:
    """Render both versions. Return the answers of the old one, and the new render."""
    with renderer(plan.before) as before:
        try:
            recorded = before.render(old, plan.old, answers_file=answers_file).answers
        except AnswerError as error:
            if error.question in plan.old:
                raise
            raise _missing_answer(error, plan.before) from error
    data, ask = dict(plan.new), plan.fresh if plan.ask else ()
    with renderer(plan.after) as after:
        while True:
            try:
                options: dict[str, Any] = {"proposals": plan.proposals, "ask": ask, "answers_file": answers_file}
                return recorded, after.render(new, data, **options)
            except AnswerError as error:
                name = error.question
                if name in plan.given:
                    raise
                if name not in data:
                    raise _missing_answer(error, plan.after) from error
                if not plan.ask:
                    raise invalid_answer(name, data[name], plan.after, error.reason) from error
                # Only Copier evaluates choices and conditions in Jinja, and it stops at the first invalid answer.
                del data[name]
                ask = (*ask, name)


def invalid_answer(name: str, value: Any, template: Template, reason: str) -> UsageError:
    """Build the error for a recorded answer that a template does not accept.

    Args:
        name: The question.
        value: The answer.
        template: The template.
        reason: The reason, with the valid choices if there are some.

    Returns:
        The error. Its message says how to give another answer.
    """
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value
    return UsageError(
        f"{name}: the service has '{shown}', which is not valid in {template.ref}: {reason.rstrip('.')}. Give another "
        f"answer in the same command: {_usage(name, template)}."
    )


def _missing_answer(error: AnswerError, template: Template) -> UsageError:
    """Build the error for a question without a recorded answer, such as a secret."""
    return UsageError(f"{str(error).rstrip('.')}. Give it in the same command: {_usage(error.question, template)}.")


def _usage(name: str, template: Template) -> str:
    usage = load_questions(template.config())[name].usage
    return f"`--data {usage}` for an update, `{usage}` for `quickset add` or `remove`"


def _require_same_answers(plan: UpdatePlan, recorded: Mapping[str, Any], answers_file: str) -> None:
    """Refuse recorded answers that Copier dropped, because the old render is not that of the service then."""
    wrong = [name for name, value in plan.old.items() if name in recorded and recorded[name] != value]
    if wrong:
        shown = ", ".join(f"{name}={plan.old[name]}" for name in wrong)
        raise QuicksetError(f"{answers_file} says {shown}, which {plan.before.ref} does not take; restore it from git.")


def _settings_note(scratch: ScratchRepository, repository: Repository, merged: MergeResult) -> tuple[str, ...]:
    """Say what to change in `.env`, which belongs to the user."""
    after, file = merged.after.get(_EXAMPLE), repository.service / ".env"
    if after is None or _EXAMPLE in merged.stages or _EXAMPLE not in merged.before or not file.is_file():
        return ()
    texts = scratch.read_files({"before": merged.before[_EXAMPLE], "after": after}, ["before", "after"])
    old, new = (_settings(texts[name].decode(errors="replace")) for name in ("before", "after"))
    own = _settings(file.read_text(encoding="utf-8", errors="replace"))
    parts = {
        "delete": [name for name in own if name in old and name not in new],
        "set again": [name for name in own if name in old and name in new and old[name] != new[name]],
        "new are": [name for name in new if name not in old and name not in own],
    }
    shown = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    if not shown:
        return ()
    first = " Do so before anything runs: the service may refuse a setting that is gone." if parts["delete"] else ""
    return (f".env is yours and was not changed; .env.example changes: {'; '.join(shown)}.{first}",)


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))


def with_patch(update: PreparedUpdate, *, color: bool = False) -> UpdateResult:
    """Add the difference to the result of an update that is not put in place.

    Args:
        update: The update.
        color: Use the colors of the terminal.

    Returns:
        The result with a unified diff from the committed files to the updated ones.
    """
    merged = update.merged
    trees = [
        update.scratch.write_tree(merged.before),
        update.scratch.write_tree({path: entry for path, entry in merged.after.items() if entry}),
    ]
    options = ("--no-ext-diff", "--no-textconv", "--find-renames", f"--color={'always' if color else 'never'}")
    patch = update.scratch.git("diff", *options, *trees)
    return replace(update.result, patch=f"{patch}\n" if patch else "")


def checked_answers(path: Path, template: Template, answers_file: str) -> tuple[dict[str, Any], dict[str, Question]]:
    """Read the recorded answers to the questions of a template, and check each.

    Args:
        path: The service.
        template: The template that the service records.
        answers_file: The service's answers file.

    Returns:
        The answers, and the questions of the template.

    Raises:
        QuicksetError: The template does not accept an answer.
    """
    recorded = read_answers(path, answers_file)
    questions = load_questions(template.config())
    known = {name: value for name, value in recorded.items() if name in questions and not questions[name].hidden}
    try:
        return {name: questions[name].parse(value) for name, value in known.items()}, questions
    except UsageError as error:
        raise QuicksetError(f"{path / answers_file}: {error} Restore it from git.") from error
