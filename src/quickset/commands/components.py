"""`quickset add` and `quickset remove`: change answers of a service, and merge its files as in an update."""

import re
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from quickset.errors import RefusedError, UsageError
from quickset.shell import join
from quickset.templates import answers, source, upgrades
from quickset.templates.answers_file import find_answers_file
from quickset.templates.questions import FIXED, Question, is_component
from quickset.templates.source import Source
from quickset.templates.template import Template
from quickset.updating import locks
from quickset.updating.apply import apply_update
from quickset.updating.merge import MIGRATIONS, MergeResult
from quickset.updating.plan import UpdatePlan, checked_answers, prepare_update, with_patch
from quickset.updating.recover import begin_update, recorded_answers
from quickset.updating.repository import Repository
from quickset.updating.result import Progress, UpdateResult

_OFF = "none"
_LABEL = 60  # characters of a value in a conflict marker
_WITH_TABLES = {"auth", "example"}


def add(
    path: Path,
    names: Iterable[str],
    *,
    answers_file: str = "",
    lock: bool = True,
    dry_run: bool = False,
    template_source: Source | None = None,
    progress: Progress = lambda _: nullcontext(),
) -> UpdateResult:
    """Turn on components of a service, or change them.

    Args:
        path: The service.
        names: The components, with a value if there is a choice: `docker`, `database=postgresql`.
        answers_file: The answers file. If empty, it is searched for.
        lock: Update `uv.lock`.
        dry_run: Change nothing, and return the difference.
        template_source: The source of the template. By default, the recorded one.
        progress: Opens a context in which a long step is shown.

    Returns:
        The result of the update.

    Raises:
        UsageError: The component or the choice does not exist.
        RefusedError: The component is fixed, or the state of the repository does not allow it. Nothing was changed.
        ConflictError: An earlier update is not finished.
        QuicksetError: A step failed.
    """
    options: dict[str, Any] = {"answers_file": answers_file, "lock": lock, "dry_run": dry_run}
    return _change(path, names, _on, origin=template_source, progress=progress, **options)


def remove(
    path: Path,
    names: Iterable[str],
    *,
    answers_file: str = "",
    lock: bool = True,
    dry_run: bool = False,
    template_source: Source | None = None,
    progress: Progress = lambda _: nullcontext(),
) -> UpdateResult:
    """Turn off components of a service.

    Args:
        path: The service.
        names: The components.
        answers_file: The answers file. If empty, it is searched for.
        lock: Update `uv.lock`.
        dry_run: Change nothing, and return the difference.
        template_source: The source of the template. By default, the recorded one.
        progress: Opens a context in which a long step is shown.

    Returns:
        The result of the update.

    Raises:
        UsageError: The component does not exist.
        RefusedError: The component is fixed, or the state of the repository does not allow it. Nothing was changed.
        ConflictError: An earlier update is not finished.
        QuicksetError: A step failed.
    """
    options: dict[str, Any] = {"answers_file": answers_file, "lock": lock, "dry_run": dry_run}
    return _change(path, names, _off, origin=template_source, progress=progress, **options)


def _change(
    path: Path,
    names: Iterable[str],
    switch: Any,
    *,
    answers_file: str,
    lock: bool,
    dry_run: bool,
    origin: Source | None,
    progress: Progress,
) -> UpdateResult:
    recorded = recorded_answers(path, answers_file)
    answers_file = find_answers_file(path, answers_file)
    origin = origin or source.of(str(recorded["_src_path"]))
    template = origin.recorded(str(recorded["_commit"]))
    old, questions = checked_answers(path, template, answers_file)
    wanted = [_parse(questions, name) for name in names]
    if wanted and all(question.secret for question, _ in wanted):
        raise UsageError(
            "a secret is only accepted together with a component; to change it, edit the files of the service."
        )
    # A secret is not recorded, but it is in the files of the service.
    secrets = {question.name: value for question, value in wanted if question.secret}
    old |= secrets
    new = dict(old)
    for question, value in wanted:
        if not question.secret:
            new[question.name] = switch(question, value, new.get(question.name, question.default))
    if new == old:
        return UpdateResult(
            path=path.resolve(), before=template.ref, after=template.ref, notes=("Nothing to do: it is so already.",)
        )
    repository = Repository.around(path, answers_file)
    # A component that is turned off may not be asked any more.
    on = tuple(question.name for question, _ in wanted if not upgrades.is_off(new[question.name]))
    plan = _plan(template, questions, old, new)
    plan = replace(plan, required=on, given=plan.given | secrets.keys())
    with locks.work_tree(repository) as state:
        if finished := begin_update(repository, state):
            return finished
        with prepare_update(repository, plan, lock=lock and not dry_run, progress=progress) as prepared:
            if dry_run:
                return with_patch(prepared)
            return apply_update(prepared, state)


def _parse(questions: Mapping[str, Question], given: str) -> tuple[Question, str | None]:
    name, sign, value = given.partition("=")
    reason = FIXED.get(name)
    if reason and name in questions:
        raise RefusedError(f"{name} is fixed once a service exists: {reason}. Nothing was touched.")
    checked = answers.check(questions, {name: value} if sign else {})
    question = questions.get(name)
    if question and question.secret and sign:
        return question, checked[name]
    if question is None or not is_component(question):
        known = ", ".join(each.name for each in questions.values() if is_component(each))
        raise UsageError(f"there is no component '{name}'; there are {known}.")
    return question, value if sign else None


def _on(question: Question, value: str | None, now: Any) -> Any:
    if question.multiselect:
        more = question.parse(value) if value else []
        if not more:
            raise _which(question)
        return [*(now or []), *(one for one in more if one not in (now or []))]
    if value is not None:
        return question.parse(value)
    if question.type == "bool":
        return True
    choices = [choice for choice in question.choices if choice != _OFF]
    if len(choices) == 1:
        return choices[0]
    raise _which(question)


def _which(question: Question) -> UsageError:
    """Build the error for a component without a value, with the known choices."""
    first, *more = [str(choice) for choice in question.choices if choice != _OFF] or ["VALUE"]
    others = f" (or {', '.join(more)})" if more else ""
    return UsageError(f"{question.name}: say which, as in {question.name}={first}{others}.")


def _off(question: Question, value: str | None, now: Any) -> Any:
    if question.multiselect:
        less = question.parse(value) if value else now or []
        return [one for one in now or [] if one not in less]
    if value is not None and question.parse(value) != now:
        raise UsageError(f"{question.name} is {now}, not {value}.")
    if question.type == "bool":
        return False
    if _OFF in question.choices:
        return _OFF
    raise UsageError(f"{question.name} cannot be turned off; choose another by `quickset add {question.name}=…`.")


def _plan(
    template: Template, questions: Mapping[str, Question], old: Mapping[str, Any], new: Mapping[str, Any]
) -> UpdatePlan:
    changed = {name: value for name, value in new.items() if old.get(name) != value and name in questions}
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in changed.items())
    known = upgrades.load(template.read(upgrades.FILE))
    # A question that is asked for the first time takes its absent value, as in an update.
    fresh = [name for name, question in questions.items() if question.settable and name not in new]
    absent = {name: known.absent(name) for name in fresh}
    return UpdatePlan(
        title=f"Change {shown} (template {template.ref})",
        label="+".join([template.ref, *(f"{name}-{_in_a_ref(value)}" for name, value in changed.items())]),
        before=template,
        after=template,
        old=old,
        new=new,
        given=frozenset(changed),
        fresh=tuple(fresh),
        proposals={name: value for name, value in absent.items() if value is not None},
        deploy=lambda final: known.on_change(old, final),
        next_steps=partial(_next_steps, old, changed, known),
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value)) or _OFF
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_a_ref(value: Any) -> str:
    """Write a value so that it is valid in the name of a git ref."""
    return re.sub(r"[^\w.-]+|\.\.+", "-", _shown(value))[:_LABEL].strip("-.").removesuffix(".lock") or _OFF


def _next_steps(
    old: Mapping[str, Any],
    changed: Mapping[str, Any],
    known: upgrades.Upgrades,
    given: Mapping[str, Any],
    merged: MergeResult,
) -> tuple[str, ...]:
    """Return the commands to run. A change of tables needs a migration if the service has migrations."""
    if given.get("database", _OFF) == _OFF:
        return ()
    chain = {path: entry for path, entry in merged.after.items() if path.startswith(f"{MIGRATIONS}/")}
    package = given.get("package_name", "app")
    moved = any(
        "{{ package_name }}/commands/migrate.py" in release.renames.files.values()
        for release in known.releases.values()
    )
    migrate = join("uv", "run", "python", "-m", *((package, "migrate") if moved else (f"{package}.migrate",)))
    if any(path.endswith(".py") and entry is None for path, entry in chain.items()):
        # A downgrade needs the migration that was deleted.
        down = "git stash && uv run alembic downgrade base; git stash pop --index"
        return (f"{down}   # for every database that has the tables, before this is deployed",)
    if "database" in changed and moved and not upgrades.is_off(old.get("database")):
        # The migrations hold the column types of the other database.
        start = f'uv run alembic revision --autogenerate -m "start on {given["database"]}"'
        begin = f'git rm --quiet --ignore-unmatch "{MIGRATIONS}/*.py" && {start}'
        return (
            f"{begin}   # with DATABASE_URL of an empty database; then read the new file in {MIGRATIONS}",
            f"{migrate} && git add {MIGRATIONS}",
        )
    if "database" in changed or any(path.endswith(".py") for path in chain):
        return (migrate,)
    if any("models" in Path(path).with_suffix("").parts for path in merged.after):
        # The title must fit into a line, so it names only components with tables.
        named = {name: value for name, value in changed.items() if name in _WITH_TABLES} or changed
        title = " and ".join(f"{'remove' if upgrades.is_off(value) else 'add'} {name}" for name, value in named.items())
        # A migration is generated from the difference to the database, so the database must be up to date.
        write = f'{migrate} && uv run alembic revision --autogenerate -m "{title}"'
        return (f"{write}   # then read the new file in {MIGRATIONS}", f"{migrate} && git add {MIGRATIONS}")
    return ()
