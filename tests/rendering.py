"""Renders services from the template as it is on disk, with uncommitted changes.

pytest-copie would do, but for this: it renders with `unsafe=True`, so that a template with tasks or extensions passed
here and failed for everyone who does not say `--trust`; and it clones the repository for each service.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import copier
from copier import Settings

from quickset.answers import check, load_questions
from quickset.render import without_index
from tests.questions import REPOSITORY, Answer


def copy_template(folder: Path) -> Path:
    """Copy what is rendered into a folder that is no repository: Copier would take the newest commit of one."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "copier.yml", folder)
    shutil.copytree(REPOSITORY / "template", folder / "template")
    return folder


def render(source: Path, folder: Path, answers: Mapping[str, Answer]) -> Path:
    """Render a service into a folder.

    Args:
        source: A copy of the template.
        folder: Where the service is to be.
        answers: What differs from the defaults.

    Raises:
        UsageError: An answer belongs to no question, or is none of its choices.
        ValueError: Copier refuses an answer.
    """
    # Copier itself accepts misspelt names in silence.
    questions = load_questions((source / "copier.yml").read_text(encoding="utf-8"))
    data = check(questions, answers)
    # The settings of whoever runs the tests play no part.
    with without_index():
        copier.run_copy(str(source), folder, data=data, defaults=True, quiet=True, settings=Settings())
    return folder


def read_tree(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
