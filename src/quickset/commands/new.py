"""`quickset new`: create a service from the template, completely or not at all."""

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quickset import git, locking
from quickset.commands.target import Target
from quickset.errors import AnswerError, QuicksetError, UsageError, os_reason
from quickset.locking import PROJECT
from quickset.signals import uninterrupted
from quickset.templates import answers, source
from quickset.templates.presets import ask_preset, preset_answers, propose_answers, questions_to_ask
from quickset.templates.questions import load_questions
from quickset.templates.render import renderer
from quickset.templates.template import Template

Progress = Callable[[str], AbstractContextManager[object]]

_SECRET = re.compile(r"^(\w+)=change-me$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a new service."""

    path: Path
    preset: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    ask: bool = False
    commit: bool = True
    lock: bool = True
    dry_run: bool = False
    template: str | None = None
    """The URL of a third-party template."""
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A new service. The names are those of the JSON output."""

    path: Path
    template: str
    released: bool
    answers: Mapping[str, Any]
    files: tuple[str, ...]
    """Every file except those in `.git`: the paths from the service's folder, sorted."""
    committed: bool
    locked: bool
    notes: tuple[str, ...]
    """Steps that failed or were skipped, with what to do, one a line."""
    foreign: bool = False
    """Whether it is a third-party template."""


def new(
    request: Request, *, template_source: source.Source | None = None, progress: Progress = lambda _: nullcontext()
) -> Created:
    """Create a service.

    The service is rendered, locked and committed in a temporary folder, and then moved into place. So a failure leaves
    nothing behind.

    Args:
        request: The options.
        template_source: The source of the template. By default, the one in the request.
        progress: Opens a context in which a long step is shown.

    Returns:
        The service. With `dry_run`, the service that would be created.

    Raises:
        UsageError: The name or the value of an answer is wrong.
        RefusedError: There is something at the path already.
        QuicksetError: Something failed; nothing was written.
    """
    git.require()
    settings = git.settings()
    target = Target.at(request.path)
    origin = template_source or (source.of(request.template) if request.template else source.here())
    with progress("Fetching the template") if request.template else nullcontext():
        template = origin.template(request.ref)
    questions = load_questions(template.config())
    given = answers.check(questions, request.data)
    preset = ask_preset() if request.ask else request.preset
    data = {**preset_answers(questions, preset), **given}
    # Left to the renderer, what the rest of a preset rules out costs a second render.
    data = {name: value for name, value in data.items() if name in given or not questions[name].is_ruled_out(data)}
    try:
        with target.staging(dry_run=request.dry_run) as folder:
            with renderer(template) as work, nullcontext() if request.ask else progress("Rendering"):
                try:
                    rendered = work.render(
                        folder,
                        data,
                        proposals=propose_answers(questions, target.path, settings),
                        ask=questions_to_ask(questions, data, preset) if request.ask else (),
                    )
                except AnswerError as error:
                    if error.question in data:
                        raise
                    usage = questions[error.question].usage
                    raise UsageError(f"{str(error).rstrip('.')}. Give it by `--data {usage}`.") from error
            answers.check_asked(questions, given, rendered.answers, rendered.ruled_out)
            _write_env(folder)
            notes = list(template.notes)
            locked = False
            lock = request.lock and (folder / PROJECT).is_file()
            if lock and not request.dry_run:
                with progress("Locking the dependencies"):
                    failure = locking.lock(folder, trusted=not template.is_third_party)
                locked = failure is None
                if failure:
                    what = "uv.lock is that of the template" if (folder / "uv.lock").exists() else "There is no uv.lock"
                    notes.append(f"{what}: {failure}. Run `uv lock` later, then commit the file.")
            files = _files(folder)
            if request.dry_run and lock and locking.find_uv():
                files = tuple(sorted((*files, "uv.lock")))
            committed = False
            if not request.dry_run:
                with uninterrupted():
                    if request.commit:
                        branch = settings.get("init.defaultbranch") or "main"
                        committed, note = _commit(target, folder, _message(template), branch)
                        notes += [note] if note else []
                    _put(target, folder)
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    return Created(
        path=target.path,
        template=template.ref,
        released=template.released,
        answers={name: value for name, value in rendered.answers.items() if not name.startswith("_")},
        files=files,
        committed=committed,
        locked=locked,
        notes=tuple(notes),
        foreign=template.is_third_party,
    )


def _message(template: Template) -> str:
    return (
        f"Start from {template.url} at {template.ref}"
        if template.is_third_party
        else f"Start from quickset {template.version}"
    )


def _write_env(folder: Path) -> None:
    """Write `.env` from its example, with fresh secrets, readable by its owner only."""
    example = folder / ".env.example"
    if not example.is_file():
        return
    text = _SECRET.sub(lambda found: f"{found[1]}={secrets.token_urlsafe(48)}", example.read_text(encoding="utf-8"))
    env = folder / ".env"
    env.touch(mode=0o600, exist_ok=False)
    env.write_text(text, encoding="utf-8")


def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()))


def _commit(target: Target, folder: Path, message: str, branch: str) -> tuple[bool, str | None]:
    """Make the first commit, or say why there is none."""
    git_dir = target.git_dir
    if git_dir is None:
        if git.inside_work_tree(folder.parent):
            return False, "The folder is in another git work tree, so git init and the commit were skipped."
        git.run("init", "--quiet", f"--initial-branch={branch}", cwd=folder)
        git_dir = folder / ".git"
    # The service's own .gitignore lists .env; its secrets must not depend on that line.
    ignored = folder.with_name(f"{folder.name}.ignored")
    ignored.write_text(".env\n", encoding="utf-8")
    at = {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(folder)}
    try:
        git.run("add", "--all", cwd=folder, env=at, config={"core.excludesFile": str(ignored)})
        options = ("--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
        committed = git.attempt("commit", *options, cwd=folder, env=at, config=git.NO_GUESS)
        if committed.returncode and git.has_identity():
            raise git.failure("commit", committed.stderr, git_dir)
    except QuicksetError:
        _forget(git_dir)
        raise
    if committed.returncode:
        return False, (
            "Git has no name and email address for you, so the files are staged and not committed: set user.name and "
            "user.email with `git config`, then `git commit`."
        )
    return True, None


def _put(target: Target, folder: Path) -> None:
    """Move the service into place; a waiting repository forgets its commit when that fails."""
    try:
        target.receive(folder)
    except QuicksetError:
        if target.git_dir:
            _forget(target.git_dir)
        raise


def _forget(git_dir: Path) -> None:
    at = {"GIT_DIR": str(git_dir)}
    git.attempt("update-ref", "-d", "HEAD", env=at)
    git.attempt("read-tree", "--empty", env=at)
