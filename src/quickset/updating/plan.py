"""From one render of a service to another: what `diff` shows, and `update`, `add` and `remove` do."""

import os
import re
import secrets
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from quickset import git, locking
from quickset.commands.target import uninterrupted
from quickset.errors import AnswerError, ConflictError, QuicksetError, RefusedError, UsageError, os_reason, writing
from quickset.shell import join
from quickset.templates import answers, remote
from quickset.templates.answers import ANSWERS_FILE
from quickset.templates.render import Rendered, renderer
from quickset.templates.source import Template
from quickset.templates.upgrades import Entry as Deploy
from quickset.templates.upgrades import Names
from quickset.updating import adapt, journal, merge, references
from quickset.updating.adapt import PROJECT
from quickset.updating.changes import Change
from quickset.updating.journal import Journal, Step
from quickset.updating.merge import Merged, Workshop
from quickset.updating.references import Reference
from quickset.updating.repository import Entry, Repository, is_file

Progress = Callable[[str], AbstractContextManager[object]]

LOCK = "uv.lock"
_EXAMPLE = ".env.example"
_TRAILER = "Quickset"
_WORD = re.compile(r"\w+|[^\w\s]")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was done, or would be."""

    path: Path
    title: str = ""
    before: str = ""
    after: str = ""
    changes: tuple[Change, ...] = ()
    conflicts: tuple[str, ...] = ()
    absent: Mapping[str, Any] = field(default_factory=dict)
    """New questions, with the values that they took."""
    deploy: tuple[Deploy, ...] = ()
    notes: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    """The owner's lines that use what was renamed."""
    next_steps: tuple[str, ...] = ()
    patch: str = ""
    """The difference, of a preview."""
    branch: str | None = None
    commit: str | None = None
    applied_ms: float = 0.0
    """For how long the work tree was being changed."""


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


def recorded(path: Path, answers_file: str = "") -> dict[str, Any]:
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
        return answers.read(path, answers.find(path, answers_file))
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
        title = _told(repository, unfinished).title
        if unfinished.phase == "conflicts" and left:
            unmerged = repository.unmerged(left)
            what = f"conflicts in {', '.join(unmerged)}" if unmerged else "resolved conflicts"
            raise ConflictError(f"{title}: {what}; go on with `quickset update --continue`, or back with `--abort`.")
        raise ConflictError(
            f"{title}: interrupted; finish it with `quickset update --continue`, or undo it with `--abort`."
        )


def forget_vanished(repository: Repository, state: Path, record: Journal) -> bool:
    """Drop the journal of an update of which nothing is left, as after `git reset --hard`.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: The journal.

    Returns:
        Whether it was dropped.
    """
    if record.facts.get("continued") or not journal.vanished(repository, record):
        return False
    journal.finish(state)
    return True


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
    _require_untouched(repository.touched([repository.answers_file]))
    with tempfile.TemporaryDirectory(prefix="quickset-", ignore_cleanup_errors=True) as folder:
        old, new = (Path(folder, side, repository.service.name) for side in ("old", "new"))
        with writing(Path(folder)), progress("Rendering") if not goal.ask else nullcontext():
            recorded, rendered = _render(goal, old, new, repository.answers_file)
        _require_same(goal, recorded, repository.answers_file)
        given = rendered.answers
        answers.check_asked(answers.load_questions(goal.after.config()), goal.required, given, rendered.ruled_out)
        with merge.workshop(repository) as work:
            once = rendered.is_written_once
            names = goal.names(given)
            moves = [release.files for release in names]
            with writing(work.folder):
                merged = merge.merge(work, repository, old=old, new=new, label=goal.label, once=once, moves=moves)
                found = _references(work, merged, names, fix=goal.fix_imports)
                if lock and (note := _lock(work, repository, merged, progress, trusted=not goal.after.is_foreign)):
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
    usage = answers.load_questions(template.config())[name].usage
    return f"`--data {usage}` for an update, `{usage}` for `quickset add` or `remove`"


def _require_same(goal: Goal, recorded: Mapping[str, Any], answers_file: str) -> None:
    """Copier drops an answer that it does not like; then the old render would not be the service's."""
    wrong = [name for name, value in goal.old.items() if name in recorded and recorded[name] != value]
    if wrong:
        shown = ", ".join(f"{name}={goal.old[name]}" for name in wrong)
        raise QuicksetError(f"{answers_file} says {shown}, which {goal.before.ref} does not take; restore it from git.")


def _lock(work: Workshop, repository: Repository, merged: Merged, progress: Progress, *, trusted: bool) -> str | None:
    """Let uv bring the lock file up to date with the merged project; say why when it could not."""
    project = merged.after.get(PROJECT)
    head = repository.tree()
    if project is None or PROJECT in merged.stages or LOCK not in head or PROJECT not in head:
        return None
    contents = work.read({PROJECT: project, LOCK: head[LOCK], "before": head[PROJECT]}, [PROJECT, LOCK, "before"])
    if _locked_part(contents["before"]) == _locked_part(contents[PROJECT]):
        return None
    if repository.touched([LOCK]):
        return f"{LOCK} has changes that are not committed and was left alone; run `uv lock`."
    with tempfile.TemporaryDirectory(prefix="quickset-lock-") as folder:
        for name in (PROJECT, LOCK):
            Path(folder, name).write_bytes(contents[name])
        with progress("Locking dependencies"):
            reason = locking.lock(Path(folder), trusted=trusted)
        if reason:
            return f"The dependencies could not be locked ({reason}); run `uv lock`."
        fresh = Path(folder, LOCK).read_bytes()
    if fresh != contents[LOCK]:
        merged.before[LOCK] = head[LOCK]
        merged.after[LOCK] = Entry(head[LOCK].mode, work.write({LOCK: fresh})[LOCK])
        merged.changes.append(Change(LOCK, "changed"))
        merged.changes.sort(key=lambda change: change.path)
    return None


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


def _locked_part(content: bytes) -> Any:
    """What of a `pyproject.toml` decides over its lock file."""
    try:
        loaded = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return content
    project = loaded.get("project")
    if not isinstance(project, dict):
        return content
    names = ("name", "version", "requires-python", "dependencies", "optional-dependencies")
    tools = loaded.get("tool")
    uv = tools.get("uv") if isinstance(tools, dict) else None
    return [project.get(name) for name in names], loaded.get("dependency-groups"), uv


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
        "result": _kept(replace(plan.result, notes=plan.lasting)),
    }
    if merged.stages:
        facts |= _hold_back(plan, steps)
    with journal.index_locked(repository, state):
        _require_untouched(repository.touched(merged.after))
        plan.work.hand_over(merge.all_objects(merged), repository)
        _note_markers(repository, steps)
        journal.prepare(repository, state, steps)
        edited = journal.edited(repository, state, steps)
        _require_untouched(edited, _why_hidden(repository, {path: steps[path].flags for path in edited}))
        if repository.git("rev-parse", "HEAD") != repository.head:
            raise RefusedError("HEAD has moved meanwhile; run the command again. Nothing was touched.")
        record = Journal("applying", repository.prefix, repository.head, steps, facts=facts)
        record.save(state)
        milliseconds = _put_in_place(repository, state, record)
    settle(state, record)
    return replace(plan.result, applied_ms=round(milliseconds, 1))


def _hold_back(plan: Planned, steps: dict[str, Step]) -> dict[str, Any]:
    """Return for the journal what `--continue` records: the service counts as updated once conflicts are resolved."""
    path = plan.repository.prefix + plan.repository.answers_file
    if sides := plan.merged.stages.get(plan.repository.answers_file):
        old, new = sides.get(merge.OLD), sides.get(merge.THEIRS)
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
        sides = [side for number, side in step.stages.items() if number != merge.OLD and is_file(side)]
        step.alike = dict(journal.markers(repository.as_on_disk(side, path) for side in sides))


def _put_in_place(repository: Repository, state: Path, record: Journal) -> float:
    """Carry a journal out, held up by no signal."""
    with _half_done(repository, state, record), uninterrupted():
        return journal.apply(repository, state, record)


@contextmanager
def _half_done(repository: Repository, state: Path, record: Journal) -> Iterator[None]:
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


def _kept(result: Result) -> dict[str, Any]:
    """Bring what there is to tell into a form for the journal."""
    kept = asdict(result)
    names = ("title", "before", "after", "changes", "absent", "deploy", "notes", "references", "next_steps")
    return {name: kept[name] for name in names}


def _told(repository: Repository, record: Journal, decided: Mapping[str, Mapping[str, str]] | None = None) -> Result:
    """Bring back what `_kept` kept, with what the user made of files by their path in the repository."""
    kept = dict(record.facts.get("result") or {"title": "An update"})
    kept["changes"] = tuple(
        Change(
            **each
            | {"template_paths": tuple(each.get("template_paths", ()))}
            | ({"kind": "merged", "note": ""} if each["kind"] == "conflict" else {})
            | (decided or {}).get(record.service + each["path"], {})
        )
        for each in kept.get("changes", ())
    )
    kept["deploy"] = tuple(Deploy(each["version"], each["text"], each["keep"]) for each in kept.get("deploy", ()))
    kept["notes"] = tuple(kept.get("notes", ()))
    kept["references"] = tuple(Reference(**each) for each in kept.get("references", ()))
    kept["next_steps"] = tuple(kept.get("next_steps", ()))
    return Result(path=repository.top / record.service, **kept)


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


def _require_untouched(paths: list[str], why: str = "") -> None:
    if not paths:
        return
    raise RefusedError(
        f"not committed: {', '.join(paths)}. The update would change the same files: commit, stash or move your "
        f"changes first. Nothing was touched.{why}"
    )


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


def commit(plan: Planned, branch: str, message: str) -> Result:
    """Commit a plan on a branch of its own; index, work tree and the branch that is checked out stay as they are.

    Args:
        plan: The plan.
        branch: The branch, made or made anew.
        message: The commit's.

    Returns:
        What was done.

    Raises:
        UsageError: The branch cannot be called like that.
        ConflictError: There are conflicts, and a commit cannot hold them; no branch was made.
        RefusedError: The branch holds commits that quickset did not make.
    """
    repository, merged = plan.repository, plan.merged
    if plan.result.conflicts:
        note = "No branch was made: a commit cannot hold conflicts. Run `quickset update` here, without --branch."
        return replace(plan.result, notes=(*plan.result.notes, note))
    before = _require_own(repository, branch)
    plan.work.hand_over(merge.all_objects(merged), repository)
    with tempfile.TemporaryDirectory(prefix="quickset-") as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        repository.git("read-tree", repository.head, env=env)
        null = "0" * len(repository.head)
        lines = [
            f"{after.mode} {after.oid}\t{repository.prefix}{path}\0"
            if after
            else f"0 {null}\t{repository.prefix}{path}\0"
            for path, after in sorted(merged.after.items(), key=lambda item: item[1] is not None)
        ]
        repository.git("update-index", "-z", "--index-info", stdin="".join(lines), env=env)
        tree = repository.git("write-tree", env=env)
    if not git.has_identity(repository.top):
        raise QuicksetError("git knows no name and address of yours: set user.name and user.email with `git config`.")
    # By these the branch is known for one of this service, on which nobody has gone on.
    trailers = {"Template": plan.result.after, "Service": repository.prefix or ".", "Tree": tree}
    text = "".join(f"{_TRAILER}-{name}: {value}\n" for name, value in trailers.items())
    made = repository.git("commit-tree", tree, "-p", repository.head, "-F", "-", stdin=f"{message.rstrip()}\n\n{text}")
    name = f"refs/heads/{branch}"
    repository.git("update-ref", "--no-deref", "-m", f"quickset: {plan.result.title}", name, made, before)
    push = (join("git", "push", "origin", branch),) if repository.git("remote") else ()
    return replace(plan.result, branch=branch, commit=made, next_steps=push)


def _require_own(repository: Repository, branch: str) -> str:
    """Refuse a branch that is the user's; give its tip, or nothing where there is no such branch."""
    if git.attempt("check-ref-format", "--branch", branch).returncode:
        raise UsageError(f"--branch: '{branch}' is no name for a branch.")
    name = f"refs/heads/{branch}"
    tip = git.attempt("rev-parse", "--verify", "--quiet", name, cwd=repository.top).stdout.strip()
    if not tip:
        return ""
    worktrees = repository.git("worktree", "list", "--porcelain").splitlines()
    symbolic = git.attempt("symbolic-ref", "--quiet", name, cwd=repository.top).returncode == 0
    if f"branch {name}" in worktrees or symbolic:
        raise RefusedError(f"--branch: '{branch}' is checked out; take another name. Nothing was touched.")
    fields = ("%T", *(f"%(trailers:key={_TRAILER}-{key},valueonly,separator=)" for key in ("Tree", "Service")))
    listed = repository.git("log", f"--format={'%x00'.join(fields)}", f"{repository.head}..{tip}")
    for line in filter(None, listed.split("\n")):
        tree, recorded, service = line.split("\0")
        if tree != recorded or service != (repository.prefix or "."):
            raise RefusedError(
                f"--branch: '{branch}' holds commits of somebody's; take another name. Nothing was touched."
            )
    return tip


def finish_interrupted(repository: Repository, state: Path, record: Journal) -> Result:
    """Finish what was killed on its way.

    Args:
        repository: The repository.
        state: The folder of the journal.
        record: What was being done.

    Returns:
        What is the case now.
    """
    told = _told(repository, record)
    if record.phase == "aborting":
        _undo(repository, state, record)
        return Result(
            path=told.path, title=told.title, notes=("The interrupted --abort was finished; everything is as it was.",)
        )
    if forget_vanished(repository, state, record):
        return Result(path=told.path, title=told.title, notes=("It was interrupted, and nothing of it is left.",))
    with journal.index_locked(repository, state):
        milliseconds = _put_in_place(repository, state, record)
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
    with journal.locked(repository) as state:
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
        told = _told(repository, record, _decided(repository, record))
        service = replace(repository, prefix=record.service, answers_file=_answers_file(record))
        _advance(service, state, record)
        written = record.steps.get(record.service + LOCK)
        note = _lock_in_place(service, progress, written) if lock else None
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
    if not {merge.OLD, 2, merge.THEIRS} <= sides.keys():
        return False
    entries = (sides[merge.OLD], sides[merge.THEIRS], sides[2], now)
    old, new, mine, result = (Counter(_WORD.findall(repository.as_on_disk(entry, path))) for entry in entries)
    return not ((new - old) & (result - mine)) and not ((old - new) & (mine - result))


def _require_resolved(repository: Repository, record: Journal) -> None:
    """Refuse to go on over what is unmerged no longer and yet not resolved."""
    if left := journal.unresolved(repository, record):
        raise ConflictError(f"conflict markers are left in {', '.join(left)}; resolve, `git add`, and run this again.")
    if left := journal.unstaged(repository, record):
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
    with journal.index_locked(repository, state):
        journal.prepare(repository, state, steps)
        edited = journal.edited(repository, state, steps)
        if path in steps and (path in edited or steps[path].was is None):
            raise RefusedError(f"{path} was edited since the update; `git add` that, or restore it, and go on.")
        steps = {name: step for name, step in steps.items() if name == path or step.was == step.becomes}
        if steps:
            facts = record.facts | {"continued": True}
            going = Journal("applying", record.service, repository.head, steps, facts=facts)
            going.save(state)
            _put_in_place(repository, state, going)
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


def _lock_in_place(repository: Repository, progress: Progress, written: Step | None) -> str | None:
    """Bring the lock file up to date after conflicts, and stage it; what the update wrote there is no user's change."""
    file = repository.service / LOCK
    tracked = git.attempt("ls-files", "--error-unmatch", "--", LOCK, cwd=repository.service).returncode == 0
    if not tracked or not file.is_file() or not (repository.service / PROJECT).is_file():
        return None
    if repository.touched([LOCK]) and not (written and written.becomes == journal.digest(file)):
        return f"{LOCK} has changes that are not committed and was left alone; run `uv lock`."
    trusted = remote.is_canonical(str(answers.read(repository.service, repository.answers_file)["_src_path"]))
    with tempfile.TemporaryDirectory(prefix="quickset-lock-") as folder:
        for name in (PROJECT, LOCK):
            Path(folder, name).write_bytes((repository.service / name).read_bytes())
        with progress("Locking dependencies"):
            reason = locking.lock(Path(folder), trusted=trusted)
        if reason:
            return f"The dependencies could not be locked ({reason}); run `uv lock`."
        fresh = Path(folder, LOCK).read_bytes()
    if fresh != file.read_bytes():
        aside = file.with_name(f".quickset-{secrets.token_hex(8)}")
        try:
            with writing(aside):
                aside.write_bytes(fresh)
            aside.replace(file)
        except OSError as error:
            aside.unlink(missing_ok=True)
            return f"The dependencies could not be locked ({os_reason(error)}); run `uv lock`."
        git.run("add", "--", LOCK, cwd=repository.service, theirs=True)
    return None


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
    with journal.locked(repository) as state:
        record = Journal.load(state)
        if record is None:
            raise RefusedError("there is no update to abort here.")
        told = _told(repository, record)
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
    with journal.index_locked(repository, state), _half_done(repository, state, record), uninterrupted():
        journal.undo(repository, state, record)
    journal.finish(state)


def read_answers(
    path: Path, template: Template, answers_file: str
) -> tuple[dict[str, Any], dict[str, answers.Question]]:
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
    recorded = answers.read(path, answers_file)
    questions = answers.load_questions(template.config())
    known = {name: value for name, value in recorded.items() if name in questions and not questions[name].hidden}
    try:
        return answers.check(questions, known), questions
    except UsageError as error:
        raise QuicksetError(f"{path / answers_file}: {error} Restore it from git.") from error
