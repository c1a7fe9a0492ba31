"""What copier.yml asks."""

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
    """A question that a person may be asked.

    Attributes:
        choices: Every answer that may be given; empty when the answer is free text.
        when: The condition under which it is asked, in Jinja.
    """

    name: str
    default: Answer
    choices: tuple[Answer, ...]
    when: str

    @property
    def depends_on(self) -> frozenset[str]:
        """The questions whose answers decide whether it is asked."""
        return frozenset(jinja2.meta.find_undeclared_variables(_JINJA.parse(self.when)))

    def is_asked(self, answers: Mapping[str, Answer]) -> bool:
        """Tell whether it is asked of a service with these answers."""
        return _JINJA.from_string(self.when).render(answers) == "True"


def read_copier_yml(folder: Path = REPOSITORY) -> dict[str, Any]:
    """Return copier.yml as it is written."""
    document: dict[str, Any] = yaml.safe_load((folder / "copier.yml").read_text(encoding="utf-8"))
    return document


def read_questions(folder: Path = REPOSITORY) -> list[Question]:
    """Return the questions that are asked, in their order; answers that are derived or just recorded are none."""
    return [
        Question(name, entry["default"], _choices(entry), str(entry.get("when", True)))
        for name, entry in read_copier_yml(folder).items()
        if not name.startswith("_") and entry.get("when") is not False and entry.get("ask") is not False
    ]


def read_recorded(folder: Path = REPOSITORY) -> dict[str, tuple[Answer, ...]]:
    """Return the choices of the answers that are recorded without a question, by their names."""
    return {
        name: _choices(entry)
        for name, entry in read_copier_yml(folder).items()
        if not name.startswith("_") and entry.get("ask") is False
    }


def only_asked(questions: Sequence[Question], answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """Leave out the answers to questions that the others rule out."""
    return {question.name: answers[question.name] for question in questions if question.is_asked(answers)}


def _choices(entry: Mapping[str, Any]) -> tuple[Answer, ...]:
    if entry["type"] == "bool":
        return (False, True)
    choices: Mapping[str, Any] | Sequence[Any] = entry.get("choices", ())
    values = choices.values() if isinstance(choices, Mapping) else choices
    # A choice may carry a condition: {value: ..., validator: ...}.
    return tuple(value["value"] if isinstance(value, Mapping) else value for value in values)
