"""The one place that calls Copier: a template and answers become files on disk."""

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import copier
import jinja2
import yaml
from copier.errors import CopierError, ForbiddenPathError, InteractiveSessionError, UnsafeTemplateError
from plumbum import ProcessExecutionError, local

from quickset import git
from quickset.errors import AnswerError, QuicksetError, RefusedError, UsageError, os_reason, writing
from quickset.templates.answers_file import read_answers
from quickset.templates.template import Template

_BAD_ANSWER = re.compile(r"(?:Validation error for question|Invalid choice for) '(\w+)': (.*)", re.DOTALL)
_NO_CHOICE = re.compile(r"(.+) is not in \[(.*)\]", re.DOTALL)
_NO_ANSWER = re.compile(r'Question "(\w+)" is required')


@dataclass(frozen=True, slots=True)
class Rendered:
    """What came of a render, apart from the files."""

    answers: dict[str, Any]
    """As recorded."""
    answers_file: str
    """Where, below the folder."""
    ruled_out: frozenset[str]
    """The questions whose condition is false, hidden ones included."""
    is_written_once: Callable[[str], bool]
    """Whether a path belongs to the service once it is there."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders one template as often as needed."""

    template: Template
    _scratch: Path

    def render(
        self,
        destination: Path,
        data: Mapping[str, Any],
        *,
        proposals: Mapping[str, Any] | None = None,
        ask: Sequence[str] | None = (),
        answers_file: str | None = None,
    ) -> Rendered:
        """Render the template.

        Copier takes a given answer even where the question's condition is false. Such an answer is dropped, and what
        follows from the others is rendered: that is what the recorded answers give the next time.

        Args:
            destination: The folder to make. Templates can read its name, so it has the service's.
            data: Given answers, checked already.
            proposals: What to offer, or take, in place of the template's defaults.
            ask: The questions to put to the user; None for every one that is not given.
            answers_file: Where to record the answers; None for where the template does.

        Returns:
            The answers as recorded, and what else the template decided.

        Raises:
            AnswerError: The template refuses an answer.
            UsageError: There is no terminal to ask at.
            RefusedError: The template wants to run code, or reaches outside the folder.
            QuicksetError: Anything else went wrong.
        """
        rendered, asked = self._render(destination, data, proposals, ask, answers_file)
        while rendered.ruled_out & data.keys():
            data = {name: value for name, value in {**data, **asked}.items() if name not in rendered.ruled_out}
            shutil.rmtree(destination)
            rendered, _ = self._render(destination, data, proposals, (), answers_file)
        return rendered

    def _render(
        self,
        destination: Path,
        data: Mapping[str, Any],
        proposals: Mapping[str, Any] | None,
        ask: Sequence[str] | None,
        answers_file: str | None,
    ) -> tuple[Rendered, dict[str, Any]]:
        """Render once; return also what the user answered."""
        with (
            _environment(self._scratch, self.template.url),
            without_index(),
            _same_everywhere(),
            _plain_errors(),
            writing(destination),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            worker = copier.run_copy(
                self.template.url,
                destination,
                dict(data),
                answers_file=answers_file,
                vcs_ref=self.template.ref,
                user_defaults=dict(proposals or {}),
                defaults=ask is not None,
                ask=list(ask or ()),
                settings=copier.Settings(),
                quiet=True,
            )
            matches, recorded = worker.match_skip, worker.answers_relpath.as_posix()
        _check_reach(destination)
        if not (destination / recorded).is_file():
            raise QuicksetError(
                f"the template at {self.template.url} records no answers in {recorded}, so the service "
                "could never be updated: it needs a file '{{ _copier_conf.answers_file }}.jinja'."
            )
        put = {name: value for name, value in worker.answers.user.items() if ask is None or name in ask}
        rendered = Rendered(
            answers=read_answers(destination, recorded),
            answers_file=recorded,
            ruled_out=frozenset(worker.answers.hidden),
            is_written_once=lambda path: matches(Path(path)),
        )
        return rendered, put


@contextmanager
def renderer(template: Template) -> Iterator[Renderer]:
    """Prepare a template for rendering; what that leaves behind goes when the context ends.

    Args:
        template: Which one.

    Yields:
        What renders it.
    """
    with tempfile.TemporaryDirectory(prefix="quickset-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        template.write_repository(scratch / "template.git")
        yield Renderer(template, scratch)


@contextmanager
def without_index() -> Iterator[None]:
    """Spare Copier a call of git for each file, by which it looks for an index that a fresh folder does not have.

    A quarter of the time of a render. Where a later Copier does not have the method, it just takes that time.
    """
    name = "_sync_git_index_executable_bit"
    worker = copier.run_copy.__globals__.get("Worker")
    method = getattr(worker, name, None)
    if method is None:
        yield
        return
    setattr(worker, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(worker, name, method)


@contextmanager
def _same_everywhere() -> Iterator[None]:
    """Let a template see nothing of this machine and this call in `_copier_conf`.

    A file that holds some of it would differ from render to render, and conflict without an edit. Where a
    later Copier does not have the method, that is so.
    """
    name = "_render_context"
    worker = copier.run_copy.__globals__.get("Worker")
    method = getattr(worker, name, None)
    if method is None:
        yield
        return

    def context(self: Any) -> Any:
        found = method(self)
        repository = PurePath(self.template.url).name.removesuffix(".git")
        fixed: dict[str, Any] = {"src_path": PurePath(repository), "dst_path": PurePath(self.dst_path.name)}
        fixed |= {"data": {}, "defaults": True, "user_defaults": {}}
        for key, value in fixed.items():
            found["_copier_conf"][key] = value
        found["_copier_python"] = "python"
        return found

    setattr(worker, name, context)
    try:
        yield
    finally:
        setattr(worker, name, method)


@contextmanager
def _environment(scratch: Path, url: str) -> Iterator[None]:
    """Let Copier and its git find the prepared repository, and nothing of the user's."""
    before, tempdir = dict(os.environ), tempfile.tempdir
    env = git.environment({f"url.{(scratch / 'template.git').as_uri()}.insteadOf": url.removeprefix("git+")})
    # Copier's shared cache is unsafe in parallel, and an interrupted clone must not outlive this command.
    env |= {"COPIER_CACHE_DIR": str(scratch / "cache"), "TMPDIR": str(scratch)}
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = str(scratch)
    try:
        # Copier runs git through plumbum, which has a copy of the environment from when it was imported.
        with local.env():
            local.env.clear()
            local.env.update(env)
            yield
    finally:
        tempfile.tempdir = tempdir
        os.environ.clear()
        os.environ.update(before)


def _check_reach(folder: Path) -> None:
    """Refuse what would be dangerous to have: git runs what it finds in a `.git`, and programs follow links.

    Copier itself writes nothing outside the folder.
    """
    top = folder.resolve()
    for place, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(place, name)
            shown = path.relative_to(top)
            # As file systems that ignore case, or what ends a name, would have it.
            if name.rstrip(". ").casefold() == ".git":
                raise RefusedError(f"the template makes '{shown}', which only git may make; nothing was made.")
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
                raise RefusedError(f"the template makes a link out of the service, '{shown}'; nothing was made.")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn everything that Copier raises into one clear line."""
    try:
        yield
    except KeyboardInterrupt:
        # Copier's own kind is a CopierError as well.
        raise KeyboardInterrupt from None
    except InteractiveSessionError as error:
        raise UsageError("there is no terminal to ask at; give --defaults, --preset, --data or --data-file.") from error
    except ProcessExecutionError as error:
        raise git.failure("clone", str(error.stderr), tempfile.gettempdir()) from error
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    except UnsafeTemplateError as error:
        raise RefusedError(
            "the template has code of its own to run on this machine (tasks, migrations or Jinja extensions), and "
            "quickset runs none; nothing was made."
        ) from error
    except ForbiddenPathError as error:
        raise RefusedError(f"the template reaches outside the service: {' '.join(str(error).split())}.") from error
    except QuicksetError:
        raise
    except Exception as error:
        # The expressions of a template raise whatever their operators raise.
        text = " ".join(str(error).split())
        if refused := _refused_answer(text):
            raise refused from error
        known = isinstance(error, (CopierError, ValueError, jinja2.TemplateError, yaml.YAMLError))
        kind = "" if known else f"{type(error).__name__}: "
        raise QuicksetError(f"the template could not be rendered: {kind}{text}") from error


def _refused_answer(text: str) -> AnswerError | None:
    """Read which answer Copier refuses, and why; None when it speaks of something else."""
    if bad := _BAD_ANSWER.match(text):
        # In the words for choices that are known without Copier.
        return AnswerError(bad[1], _NO_CHOICE.sub(r"\1 is none of: \2", bad[2]))
    if missing := _NO_ANSWER.fullmatch(text):
        return AnswerError(missing[1], "an answer is needed")
    return None
