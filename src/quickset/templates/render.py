"""Call Copier to render a template with answers. No other module imports Copier."""

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
from quickset.signals import temporary_folder
from quickset.templates.answers_file import read_answers
from quickset.templates.template import Template

_BAD_ANSWER = re.compile(r"(?:Validation error for question|Invalid choice for) '(\w+)': (.*)", re.DOTALL)
_NO_CHOICE = re.compile(r"(.+) is not in \[(.*)\]", re.DOTALL)
_NO_ANSWER = re.compile(r'Question "(\w+)" is required')


@dataclass(frozen=True, slots=True)
class Rendered:
    """The result of a render, without the files."""

    answers: dict[str, Any]
    """The recorded answers."""
    answers_file: str
    """The path of the answers file from the rendered folder."""
    ruled_out: frozenset[str]
    """The questions whose condition is false, hidden ones included."""
    is_written_once: Callable[[str], bool]
    """Returns whether a file belongs to the service once it exists."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders one template any number of times."""

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

        Copier accepts a given answer even if the condition of its question is false. Such an answer is dropped, and the
        template is rendered again. So the recorded answers give the same result the next time.

        Args:
            destination: The folder to create. Templates can read its name, so it has the name of the service's folder.
            data: The given answers, which are checked already.
            proposals: The answers to propose, or to take, instead of the template's defaults.
            ask: The questions to put to the user; None for every question without an answer.
            answers_file: The path of the answers file; None for the path in the template.

        Returns:
            The recorded answers, and other results.

        Raises:
            AnswerError: The template refuses an answer.
            UsageError: There is no terminal to ask at.
            RefusedError: The template has code to run, or refers to files outside of the folder.
            QuicksetError: Another step failed.
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
        """Render once. Return also the answers of the user."""
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
                "could never be updated: the template needs a file '{{ _copier_conf.answers_file }}.jinja'."
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
    """Prepare a template for rendering. Temporary files are removed when the context ends.

    Args:
        template: The template.

    Yields:
        The renderer.
    """
    with temporary_folder() as folder:
        scratch = folder.resolve()
        template.write_repository(scratch / "template.git")
        yield Renderer(template, scratch)


@contextmanager
def without_index() -> Iterator[None]:
    """Skip the call of git with which Copier looks for an index for each file. A new folder has no index.

    This saves a quarter of the time of a render. If a later version of Copier lacks the method, nothing is skipped.

    Yields:
        Nothing.
    """
    with _replaced("_sync_git_index_executable_bit", lambda _: lambda *_: None):
        yield


@contextmanager
def _same_everywhere() -> Iterator[None]:
    """Hide this machine and this call from the template in `_copier_conf`.

    Otherwise a file with such a value differs from render to render, and conflicts without an edit. If a later version
    of Copier lacks the method, nothing is hidden.
    """

    def build(method: Callable[..., Any]) -> Callable[..., Any]:
        def context(self: Any) -> Any:
            found = method(self)
            repository = PurePath(self.template.url).name.removesuffix(".git")
            fixed: dict[str, Any] = {"src_path": PurePath(repository), "dst_path": PurePath(self.dst_path.name)}
            fixed |= {"data": {}, "defaults": True, "user_defaults": {}}
            for key, value in fixed.items():
                found["_copier_conf"][key] = value
            found["_copier_python"] = "python"
            return found

        return context

    with _replaced("_render_context", build):
        yield


@contextmanager
def _replaced(name: str, build: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace a private method of Copier, if this version of Copier has it."""
    worker = copier.run_copy.__globals__.get("Worker")
    method = getattr(worker, name, None)
    if method is None:
        yield
        return
    setattr(worker, name, build(method))
    try:
        yield
    finally:
        setattr(worker, name, method)


@contextmanager
def _environment(scratch: Path, url: str) -> Iterator[None]:
    """Let Copier find the prepared repository, and hide the user's settings from it."""
    before, tempdir = dict(os.environ), tempfile.tempdir
    env = git.environment({f"url.{(scratch / 'template.git').as_uri()}.insteadOf": url.removeprefix("git+")})
    # The shared cache of Copier is not safe in parallel. An interrupted clone must not outlive this command.
    env |= {"COPIER_CACHE_DIR": str(scratch / "cache"), "TMPDIR": str(scratch)}
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = str(scratch)
    try:
        # Copier runs git through plumbum, which copied the variables when it was imported.
        with local.env():
            local.env.clear()
            local.env.update(env)
            yield
    finally:
        tempfile.tempdir = tempdir
        os.environ.clear()
        os.environ.update(before)


def _check_reach(folder: Path) -> None:
    """Refuse a `.git` folder, whose code git would run, and links that lead out of the service.

    Copier writes no files outside of the folder.
    """
    top = folder.resolve()
    for place, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(place, name)
            shown = path.relative_to(top)
            # Some file systems ignore case, or dots and blanks at the end of a name.
            if name.rstrip(". ").casefold() == ".git":
                raise RefusedError(f"the template makes '{shown}', which only git may make; nothing was made.")
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
                raise RefusedError(f"the template makes a link out of the service, '{shown}'; nothing was made.")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Convert every error of Copier to an error with one clear line."""
    try:
        yield
    except KeyboardInterrupt:
        # The interrupt of Copier is a CopierError, too.
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
        # An operator of an expression in the template may raise any error.
        text = " ".join(str(error).split())
        if refused := _refused_answer(text):
            raise refused from error
        known = isinstance(error, (CopierError, ValueError, jinja2.TemplateError, yaml.YAMLError))
        kind = "" if known else f"{type(error).__name__}: "
        raise QuicksetError(f"the template could not be rendered: {kind}{text}") from error


def _refused_answer(text: str) -> AnswerError | None:
    """Parse a message of Copier about a refused answer. Return None for another message."""
    if bad := _BAD_ANSWER.match(text):
        # The message is the same as for choices that are checked without Copier.
        return AnswerError(bad[1], _NO_CHOICE.sub(r"\1 is none of: \2", bad[2]))
    if missing := _NO_ANSWER.fullmatch(text):
        return AnswerError(missing[1], "an answer is needed")
    return None
