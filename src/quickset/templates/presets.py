"""Presets for a new service, the questions that they leave open, and the answers to propose."""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quickset.errors import UsageError
from quickset.templates.questions import Question, is_utf8, none_of

# The answers of each preset that differ from the defaults. A name without a question is ignored.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "standard": {},
    "minimal": {"database": "none", "auth": "none", "example": False},
}
CUSTOM = "custom"


def preset_answers(questions: Mapping[str, Question], name: str | None) -> dict[str, Any]:
    """Return the answers of a preset.

    Args:
        questions: The template's questions.
        name: The preset. None and `custom` have no answers.

    Returns:
        The values by name, for questions that exist.

    Raises:
        UsageError: The preset does not exist.
    """
    if name in (None, CUSTOM):
        return {}
    if name not in PRESETS:
        raise UsageError(f"--preset: {none_of(str(name), PRESETS)}.")
    return {key: value for key, value in PRESETS[name].items() if key in questions}


def ask_preset() -> str:
    """Ask for a preset at the terminal.

    Returns:
        The name of the preset, or `custom`.

    Raises:
        UsageError: The terminal was closed.
    """
    import questionary

    described = {
        "standard": "standard  - the defaults: SQLite, users who sign in, rate limits; no server needed",
        "minimal": "minimal   - no database, no users, no example",
        CUSTOM: "custom    - you answer every question",
    }
    choices = [questionary.Choice(text, name) for name, text in described.items()]
    try:
        return str(questionary.select("Preset", choices, qmark="🎤").unsafe_ask())
    except EOFError as error:
        raise UsageError("the terminal was closed before the questions were answered.") from error


def questions_to_ask(
    questions: Mapping[str, Question], answered: Iterable[str], preset_name: str | None
) -> list[str] | None:
    """List the questions that a preset leaves open. A preset makes the choices, and the user gives the names.

    Args:
        questions: The template's questions.
        answered: The questions that are answered already.
        preset_name: The preset.

    Returns:
        The questions to ask; None for every question without an answer.
    """
    if preset_name == CUSTOM:
        return None
    done = set(answered)
    return [
        each.name for each in questions.values() if each.settable and not (each.offers_choices or each.name in done)
    ]


def propose_answers(questions: Mapping[str, Question], path: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Propose answers that fit this machine better than the template's defaults.

    Args:
        questions: The template's questions.
        path: The folder of the new service.
        settings: The user's settings of git.

    Returns:
        The values by name. The template accepts each of them.
    """
    words = re.split(r"[\s_-]+", path.name.strip())
    candidates = {
        "project_name": " ".join(word[:1].upper() + word[1:] for word in words),
        "author_name": settings.get("user.name", ""),
        "author_email": settings.get("user.email", ""),
        "python_version": "{}.{}".format(*sys.version_info),
    }
    return {
        name: value
        for name, value in candidates.items()
        if name in questions and value and _fits(questions[name], value)
    }


def _fits(question: Question, value: str) -> bool:
    if not is_utf8(value):
        return False
    if question.choices:
        return value in question.choices
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    # Copier fails if its validator refuses a default.
    env = SandboxedEnvironment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"])
    try:
        return not env.from_string(question.validator).render({question.name: value}).strip()
    except jinja2.TemplateError:
        return False
