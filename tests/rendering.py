"""Renders services from the template on disk, including uncommitted changes.

A test of a single service renders it with pytest-copie, through the fixture `render_service`. Tests with many services,
such as the matrix, and services that outlive one test use `render`.
"""

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import copier
import pytest
import yaml
from copier import Settings
from copier.errors import MissingFileWarning
from pytest_copie.plugin import Copie

from quickset.templates.answers import check, check_asked
from quickset.templates.questions import load_questions
from quickset.templates.render import without_index
from tests.questions import REPOSITORY, Answer, read_copier_yml

RenderService = Callable[[Mapping[str, Answer]], Path]

# Settings that Copier uses only in trusted templates.
NEEDS_TRUST = frozenset({"_tasks", "_migrations", "_jinja_extensions"})


def copy_template(folder: Path) -> Path:
    """Copy the template into a folder outside a repository, because Copier would use the newest commit of one."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "copier.yml", folder)
    shutil.copytree(REPOSITORY / "template", folder / "template")
    return folder


@contextmanager
def without_answers() -> Iterator[None]:
    """Return no recorded answers for a new service, because Copier's warning would fail a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingFileWarning)
        yield


def render(source: Path, folder: Path, answers: Mapping[str, Answer]) -> Path:
    """Render a service into a folder.

    Args:
        source: A copy of the template.
        folder: The folder of the service.
        answers: The answers that differ from the defaults, including those that are recorded without a question.

    Raises:
        UsageError: An answer belongs to no question or is not one of its choices.
        ValueError: Copier rejects an answer.
    """
    # Copier itself accepts misspelled names without an error.
    questions = load_questions((source / "copier.yml").read_text(encoding="utf-8"))
    recorded = {name: value for name, value in answers.items() if name in questions and questions[name].internal}
    data = check(questions, {name: value for name, value in answers.items() if name not in recorded}) | recorded
    # Settings of the user who runs the tests are not used.
    with without_index(), without_answers():
        copier.run_copy(str(source), folder, data=data, defaults=True, quiet=True, settings=Settings())
    return folder


def render_with_copie(copie: Copie, source: Path, answers: Mapping[str, Answer]) -> Path:
    """Render a service with pytest-copie, which itself ignores unknown answers and trusts every template.

    Args:
        copie: The fixture of pytest-copie, which removes the service after the test.
        source: A copy of the template.
        answers: The answers that differ from the defaults.

    Returns:
        The folder of the service.

    Raises:
        UsageError: An answer belongs to no question, to one that is not asked, or is not one of its choices.
        ValueError: The template needs trust, or Copier rejects an answer.
    """
    if needs := NEEDS_TRUST & read_copier_yml(source).keys():
        raise ValueError(f"copier.yml has {', '.join(sorted(needs))}, which Copier refuses without --trust")
    questions = load_questions((source / "copier.yml").read_text(encoding="utf-8"))
    data = check(questions, answers)
    # Copier settings of the user who runs the tests are not used.
    settings = copie.test_dir / "settings.yml"
    settings.write_text("{}")
    with pytest.MonkeyPatch.context() as patch, without_index(), without_answers():
        patch.setenv("COPIER_SETTINGS_PATH", str(settings))
        # pytest-copie adds `!include` to PyYAML, and no other test may depend on it.
        patch.setattr(yaml.SafeLoader, "yaml_constructors", yaml.SafeLoader.yaml_constructors.copy())
        result = copie.copy(extra_answers=data, template_dir=source)
    if result.exception or not result.project_dir:
        raise result.exception or RuntimeError("pytest-copie rendered nothing and reported no error")
    check_asked(questions, data, result.answers, questions.keys() - result.answers.keys())
    return result.project_dir


def read_tree(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
