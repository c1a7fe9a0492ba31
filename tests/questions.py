"""What copier.yml asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]

Answer = str | bool


@dataclass(frozen=True)
class Question:
    """A question that a person may be asked.

    Attributes:
        choices: Every answer that may be given; empty when the answer is free text.
    """

    name: str
    default: Answer
    choices: tuple[Answer, ...]


def read_copier_yml(folder: Path = REPOSITORY) -> dict[str, Any]:
    """Return copier.yml as it is written."""
    document: dict[str, Any] = yaml.safe_load((folder / "copier.yml").read_text(encoding="utf-8"))
    return document


def read_questions(folder: Path = REPOSITORY) -> list[Question]:
    """Return the questions that are asked, in their order; derived answers are none."""
    return [
        Question(name, entry["default"], _choices(entry))
        for name, entry in read_copier_yml(folder).items()
        if not name.startswith("_") and entry.get("when") is not False
    ]


def _choices(entry: Mapping[str, Any]) -> tuple[Answer, ...]:
    if entry["type"] == "bool":
        return (False, True)
    choices: Mapping[str, Any] | Sequence[Any] = entry.get("choices", ())
    values = choices.values() if isinstance(choices, Mapping) else choices
    # A choice may carry a condition: {value: ..., validator: ...}.
    return tuple(value["value"] if isinstance(value, Mapping) else value for value in values)
