"""The one place that calls Copier: a template and answers become files on disk."""

import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import jinja2
import yaml
from copier.errors import CopierError, InteractiveSessionError
from plumbum import ProcessExecutionError, local

from quickset import answers, git
from quickset.errors import QuicksetError, UsageError, os_reason
from quickset.source import CANONICAL_URL, Template

_BAD_ANSWER = re.compile(r"(?:Validation error for question|Invalid choice for) '(\w+)': (.*)", re.DOTALL)


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
    ) -> dict[str, Any]:
        """Render the template.

        Args:
            destination: The folder to make.
            data: Given answers, checked already.
            proposals: What to offer, or take, in place of the template's defaults.
            ask: The questions to put to the user; None for every one that is not given.

        Returns:
            The answers as recorded.

        Raises:
            UsageError: The template refuses an answer, or there is no terminal to ask at.
            QuicksetError: Anything else went wrong.
        """
        with _environment(self._scratch), _plain_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copier.run_copy(
                CANONICAL_URL,
                destination,
                dict(data),
                vcs_ref=self.template.ref,
                user_defaults=dict(proposals or {}),
                defaults=ask is not None,
                ask=list(ask or ()),
                settings=copier.Settings(),
                quiet=True,
            )
        return answers.read(destination)


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
def _environment(scratch: Path) -> Iterator[None]:
    """Let Copier and its git find the prepared repository, and nothing of the user's."""
    before, tempdir = dict(os.environ), tempfile.tempdir
    env = git.environment({f"url.{(scratch / 'template.git').as_uri()}.insteadOf": CANONICAL_URL})
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
        raise QuicksetError(f"git failed: {git.reason(str(error.stderr))}") from error
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    except (CopierError, ValueError, jinja2.TemplateError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        if bad := _BAD_ANSWER.match(text):
            raise UsageError(f"{bad[1]}: {bad[2]}") from error
        raise QuicksetError(f"the template could not be rendered: {text}") from error
