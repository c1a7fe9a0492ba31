"""From one render of a service to another: what `diff` shows, and `update`, `add` and `remove` do."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickset.errors import AnswerError, QuicksetError, UsageError, writing
from quickset.templates import answers
from quickset.templates.answers_file import read_answers
from quickset.templates.questions import Question, load_questions
from quickset.templates.render import Rendered, renderer
from quickset.templates.template import Template
from quickset.templates.upgrades import Entry as Deploy
from quickset.templates.upgrades import Names
from quickset.updating import merge, references
from quickset.updating.changes import Change
from quickset.updating.lockfile import update_lock
from quickset.updating.merge import Merged
from quickset.updating.references import Reference
from quickset.updating.repository import Repository, require_committed
from quickset.updating.result import Progress, Result
from quickset.updating.scratch import Workshop, workshop

_EXAMPLE = ".env.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a service is to become."""

    title: str
    """In one line, for people and for a commit."""
    label: str
    """What conflict markers call it."""
    before: Template
    after: Template
    old: Mapping[str, Any]
    """The answers of the service as it is."""
    new: Mapping[str, Any]
    """The answers that are given for what it is to become; the rest is asked or proposed."""
    given: frozenset[str] = frozenset()
    """Those of them that are not from the record."""
    required: tuple[str, ...] = ()
    """Those that no condition may rule out."""
    fresh: tuple[str, ...] = ()
    """New questions that nobody has answered."""
    ask: bool = False
    """Put them to the user."""
    proposals: Mapping[str, Any] = field(default_factory=dict)
    """What is offered for them, or taken."""
    deploy: Callable[[Mapping[str, Any]], tuple[Deploy, ...]] = lambda _: ()
    names: Callable[[Mapping[str, Any]], tuple[Names, ...]] = lambda _: ()
    """The moves and renames of the releases in between, oldest first."""
    fix_imports: bool = False
    """Rewrite the owner's imports of what was renamed."""
    next_steps: Callable[[Mapping[str, Any], Merged], tuple[str, ...]] = lambda _answers, _merged: ()


@dataclass(frozen=True, slots=True)
class Planned:
    """A transition that is worked out and not yet carried out."""

    repository: Repository
    work: Workshop
    merged: Merged
    result: Result
    answers: Mapping[str, Any]
    lasting: tuple[str, ...] = ()
    """The notes that still hold when conflicts are resolved."""


@contextmanager
def planned(
    repository: Repository, goal: Goal, *, lock: bool, progress: Progress = lambda _: nullcontext()
) -> Iterator[Planned]:
    """Work out a transition; nothing of the user's is touched.

    Args:
        repository: Where the service is.
        goal: What it is to become.
        lock: Bring `uv.lock` along.
        progress: Opens a context in which the user sees what takes long.

    Yields:
        What was worked out; it is gone when the context ends.

    Raises:
        QuicksetError: It cannot be done; the message says why.
    """
    # What it reads from the answers must be what it merges into.
    require_committed(repository.touched([repository.answers_file]))
    with tempfile.TemporaryDirectory(prefix="quickset-", ignore_cleanup_errors=True) as folder:
        old, new = (Path(folder, side, repository.service.name) for side in ("old", "new"))
        with writing(Path(folder)), progress("Rendering") if not goal.ask else nullcontext():
            recorded, rendered = _render(goal, old, new, repository.answers_file)
        _require_same(goal, recorded, repository.answers_file)
        given = rendered.answers
        answers.check_asked(load_questions(goal.after.config()), goal.required, given, rendered.ruled_out)
        with workshop(repository) as work:
            once = rendered.is_written_once
            names = goal.names(given)
            moves = [release.files for release in names]
            with writing(work.folder):
                merged = merge.merge(work, repository, old=old, new=new, label=goal.label, once=once, moves=moves)
                found = _references(work, merged, names, fix=goal.fix_imports)
                if lock and (
                    note := update_lock(work, repository, merged, progress, trusted=not goal.after.is_foreign)
                ):
                    merged.notes.append(note)
            settings = _settings_note(work, repository, merged)
            conflicts = tuple(sorted(merged.stages))
            result = Result(
                path=repository.service,
                title=goal.title,
                before=goal.before.ref,
                after=goal.after.ref,
                changes=tuple(merged.changes),
                conflicts=conflicts,
                absent={} if goal.ask else {name: given[name] for name in goal.fresh if name in given},
                deploy=goal.deploy(given),
                notes=(*goal.after.notes, *merged.notes, *settings),
                references=tuple(found),
                next_steps=goal.next_steps(given, merged),
            )
            yield Planned(repository, work, merged, result, given, settings)


def _references(work: Workshop, merged: Merged, names: Sequence[Names], *, fix: bool) -> list[Reference]:
    """Find the owner's lines that use what was renamed, and rewrite imports if asked to."""
    if not names:
        return []
    found, rewritten = references.find(work, merged, names, fix=fix)
    told = {change.path: number for number, change in enumerate(merged.changes)}
    for path in rewritten:
        if path in told:
            change = merged.changes[told[path]]
            note = "; ".join(filter(None, [change.note, "imports rewritten"]))
            merged.changes[told[path]] = replace(change, note=note)
        else:
            merged.changes.append(Change(path, "rewritten"))
    merged.changes.sort(key=lambda change: change.path)
    return found


def _render(goal: Goal, old: Path, new: Path, answers_file: str) -> tuple[dict[str, Any], Rendered]:
    with renderer(goal.before) as work:
        try:
            recorded = work.render(old, goal.old, answers_file=answers_file).answers
        except AnswerError as error:
            if error.question in goal.old:
                raise
            raise _unanswered(error, goal.before) from error
    data, ask = dict(goal.new), goal.fresh if goal.ask else ()
    with renderer(goal.after) as work:
        while True:
            try:
                options: dict[str, Any] = {"proposals": goal.proposals, "ask": ask, "answers_file": answers_file}
                return recorded, work.render(new, data, **options)
            except AnswerError as error:
                name = error.question
                if name in goal.given:
                    raise
                if name not in data:
                    raise _unanswered(error, goal.after) from error
                if not goal.ask:
                    raise no_longer_valid(name, data[name], goal.after, error.reason) from error
                # Only Copier knows choices and conditions in Jinja, and it stops at the first fault.
                del data[name]
                ask = (*ask, name)


def no_longer_valid(name: str, value: Any, template: Template, reason: str) -> UsageError:
    """Say which recorded answer a template does not take, and what to do about it.

    Args:
        name: The question.
        value: The answer.
        template: The template.
        reason: Why it does not take it; it names the choices where there are some.

    Returns:
        The error.
    """
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value
    return UsageError(
        f"{name}: the service has '{shown}', which is not valid in {template.ref}: {reason.rstrip('.')}. Give another "
        f"answer in the same command: {_usage(name, template)}."
    )


def _unanswered(error: AnswerError, template: Template) -> UsageError:
    """Say how to answer a question that the service has no answer to, such as a secret, which is never recorded."""
    return UsageError(f"{str(error).rstrip('.')}. Give it in the same command: {_usage(error.question, template)}.")


def _usage(name: str, template: Template) -> str:
    usage = load_questions(template.config())[name].usage
    return f"`--data {usage}` for an update, `{usage}` for `quickset add` or `remove`"


def _require_same(goal: Goal, recorded: Mapping[str, Any], answers_file: str) -> None:
    """Copier drops an answer that it does not like; then the old render would not be the service's."""
    wrong = [name for name, value in goal.old.items() if name in recorded and recorded[name] != value]
    if wrong:
        shown = ", ".join(f"{name}={goal.old[name]}" for name in wrong)
        raise QuicksetError(f"{answers_file} says {shown}, which {goal.before.ref} does not take; restore it from git.")


def _settings_note(work: Workshop, repository: Repository, merged: Merged) -> tuple[str, ...]:
    """Say what to change in `.env`, which is the user's alone."""
    after, file = merged.after.get(_EXAMPLE), repository.service / ".env"
    if after is None or _EXAMPLE in merged.stages or _EXAMPLE not in merged.before or not file.is_file():
        return ()
    texts = work.read({"before": merged.before[_EXAMPLE], "after": after}, ["before", "after"])
    was, will = (_settings(texts[name].decode(errors="replace")) for name in ("before", "after"))
    own = _settings(file.read_text(encoding="utf-8", errors="replace"))
    parts = {
        "delete": [name for name in own if name in was and name not in will],
        "set anew": [name for name in own if name in was and name in will and was[name] != will[name]],
        "new are": [name for name in will if name not in was and name not in own],
    }
    told = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    if not told:
        return ()
    first = " Do so before anything runs: what is no setting any more may be refused." if parts["delete"] else ""
    return (f".env is yours and was left alone; .env.example changes: {'; '.join(told)}.{first}",)


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))


def with_patch(plan: Planned, *, colour: bool = False) -> Result:
    """Draw the difference that a plan makes, and leave it at that.

    Args:
        plan: The plan.
        colour: With the terminal's colours.

    Returns:
        What would be done, with a unified diff from what is committed to what would be there.
    """
    merged = plan.merged
    trees = [
        plan.work.tree(merged.before),
        plan.work.tree({path: entry for path, entry in merged.after.items() if entry}),
    ]
    options = ("--no-ext-diff", "--no-textconv", "--find-renames", f"--color={'always' if colour else 'never'}")
    drawn = plan.work.git("diff", *options, *trees)
    return replace(plan.result, patch=f"{drawn}\n" if drawn else "")


def checked_answers(path: Path, template: Template, answers_file: str) -> tuple[dict[str, Any], dict[str, Question]]:
    """Read the recorded answers that a template asks for, each checked.

    Args:
        path: The service.
        template: The template that it records.
        answers_file: Where it records its answers.

    Returns:
        The answers, and the template's questions.

    Raises:
        QuicksetError: An answer is none that the template takes.
    """
    recorded = read_answers(path, answers_file)
    questions = load_questions(template.config())
    known = {name: value for name, value in recorded.items() if name in questions and not questions[name].hidden}
    try:
        return {name: questions[name].parse(value) for name, value in known.items()}, questions
    except UsageError as error:
        raise QuicksetError(f"{path / answers_file}: {error} Restore it from git.") from error
