"""The questions of copier.yml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import yaml
from jinja2.sandbox import SandboxedEnvironment

REPOSITORY = Path(__file__).parents[1]

Answer = str | bool

_JINJA = SandboxedEnvironment(undefined=jinja2.StrictUndefined)


@dataclass(frozen=True)
class Question:
    """A question that a user may be asked.

    Attributes:
        choices: Every valid answer. Empty if the answer is free text.
        when: The condition under which it is asked, in Jinja.
    """

    name: str
    default: Answer
    choices: tuple[Answer, ...]
    when: str

    @property
    def depends_on(self) -> frozenset[str]:
        """The questions whose answers decide whether this one is asked."""
        return frozenset(jinja2.meta.find_undeclared_variables(_JINJA.parse(self.when)))

    def is_asked(self, answers: Mapping[str, Answer]) -> bool:
        """Return whether this question is asked with these answers."""
        return _JINJA.from_string(self.when).render(answers) == "True"


def read_copier_yml(folder: Path = REPOSITORY) -> dict[str, Any]:
    """Return the content of copier.yml."""
    document: dict[str, Any] = yaml.safe_load((folder / "copier.yml").read_text(encoding="utf-8"))
    return document


def read_questions(folder: Path = REPOSITORY) -> list[Question]:
    """Return the questions that are asked, in order, without answers that are derived or only recorded."""
    return [
        Question(name, entry["default"], _choices(entry), str(entry.get("when", True)))
        for name, entry in read_copier_yml(folder).items()
        if not name.startswith("_") and entry.get("when") is not False and entry.get("ask") is not False
    ]


def read_recorded(folder: Path = REPOSITORY) -> dict[str, tuple[Answer, ...]]:
    """Return the choices of each answer that is recorded without a question."""
    return {
        name: _choices(entry)
        for name, entry in read_copier_yml(folder).items()
        if not name.startswith("_") and entry.get("ask") is False
    }


def only_asked(questions: Sequence[Question], answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """Remove answers to questions that the other answers exclude."""
    return {question.name: answers[question.name] for question in questions if question.is_asked(answers)}


def _choices(entry: Mapping[str, Any]) -> tuple[Answer, ...]:
    if entry["type"] == "bool":
        return (False, True)
    choices: Mapping[str, Any] | Sequence[Any] = entry.get("choices", ())
    values = choices.values() if isinstance(choices, Mapping) else choices
    # A choice may have a condition: {value: ..., validator: ...}.
    return tuple(value["value"] if isinstance(value, Mapping) else value for value in values)
