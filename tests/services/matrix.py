"""The services to test: presets, each choice with the defaults, all optional parts at once, and every pair.

An answer that is recorded without a question is tested where it has an effect, with defaults for all others.

Free texts have no rows of their own: each is in a pair with every other answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from covertable import make

from quickset.templates.presets import PRESETS, preset_answers
from quickset.templates.questions import load_questions
from tests.questions import REPOSITORY, Answer, Question, only_asked

# The tested answers, besides the default, to questions without choices.
TEXTS: Mapping[str, Sequence[str]] = {
    "project_name": ("X1", "An.Odd_Name - with 40 characters in it 9"),
    "description": (
        """Sells "tea" & 'cakes' <to> Zoë \\ über 100 % #1 🚀: [ok], {too}; $HOME `id`""",
        "many words " * 18 + ".",
    ),
    "author_name": ("""Zoë "Z" O'Neil-Müller \\ 🐙""", "Ä" * 100),
    "author_email": ("first.last+tag@mail.example.co.uk",),
    "package_name": ("a", "warehouse_operations"),
}

# Updated services of older releases: their recorded answers and the code that reads them.
OLDER: Mapping[str, Mapping[str, Answer]] = {
    f"cents-{database}": {
        "database": database,
        "amounts": "cents",
        "cache": "memory",
        "streaming": True,
        "auth": "none",
        "rate_limit": "none",
    }
    for database in ("postgresql", "mysql")
}

# The value in a pair for a question that is not asked.
UNASKED = "(not asked)"
OFF = "none"


@dataclass(frozen=True)
class Row:
    """A service to test.

    Attributes:
        name: The ID of its test.
        answers: An answer to every question that is asked.
    """

    name: str
    answers: Mapping[str, Answer]

    def __getitem__(self, question: str) -> Answer:
        """Return the answer to a question."""
        return self.answers[question]


def values(question: Question) -> list[Answer]:
    """Return the tested answers, with the default first."""
    others = question.choices or TEXTS.get(question.name, ())
    return [question.default, *(value for value in others if value != question.default)]


def build_rows(questions: Sequence[Question]) -> list[Row]:
    """Return the rows of the matrix without duplicates, in an order that depends only on the questions."""
    defaults = {question.name: question.default for question in questions}
    known = load_questions((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    found = [("defaults", defaults)]
    found += [(f"preset-{name}", defaults | preset_answers(known, name)) for name in PRESETS]
    found += [
        (f"flip-{question.name}-{str(value).lower()}", defaults | {question.name: value})
        for question in questions
        if question.choices
        for value in values(question)[1:]
    ]
    found += [("everything", {question.name: _most(question) for question in questions})]
    pairs = enumerate(_pairs(questions))
    found += [(f"pair-{number:02}-{_summary(questions, answers)}", answers) for number, answers in pairs]
    rows = list(_distinct(Row(name, only_asked(questions, answers)) for name, answers in found))
    return [*rows, *(Row(name, {**only_asked(questions, defaults), **answers}) for name, answers in OLDER.items())]


def _pairs(questions: Sequence[Question]) -> Iterator[dict[str, Answer]]:
    """Cover every possible pair of answers. A question that is not asked counts as an answer."""
    tried = {question.name: [*values(question), *([UNASKED] if question.depends_on else [])] for question in questions}

    def fits(question: Question, answers: Mapping[str, Answer]) -> bool:
        return question.is_asked(answers) == (answers[question.name] != UNASKED)

    constraints = [
        {
            "operator": "fn",
            "requires": [question.name, *sorted(question.depends_on)],
            "evaluate": lambda answers, question=question: fits(question, answers),
        }
        for question in questions
        if question.depends_on
    ]
    found: Iterable[Mapping[str, Any]] = make(tried, constraints=constraints)
    for row in found:
        yield {question.name: row[question.name] for question in questions}


def _distinct(rows: Iterable[Row]) -> Iterable[Row]:
    seen = []
    for row in rows:
        if row.answers not in seen:
            seen.append(row.answers)
            yield row


def _most(question: Question) -> Answer:
    """Return the answer with the most parts: the default, unless it leaves a part out."""
    if question.default is False:
        return True
    return next(value for value in values(question) if value != OFF)


def _summary(questions: Iterable[Question], answers: Mapping[str, Answer]) -> str:
    """Return the choices of a row that differ from the defaults."""
    chosen = [
        f"{'' if value else 'no-'}{question.name}"
        if isinstance(value, bool)
        else f"no-{question.name}"
        if value == OFF
        else str(value)
        for question in questions
        if question.choices and (value := answers[question.name]) not in (question.default, UNASKED)
    ]
    return "-".join(chosen) or "defaults"


def missing_answers(questions: Sequence[Question], rows: Sequence[Row]) -> list[str]:
    """Return the choices that are in no row."""
    return [
        f"{question.name}={choice}"
        for question in questions
        for choice in question.choices
        if not any(row.answers.get(question.name) == choice for row in rows)
    ]


def missing_pairs(questions: Sequence[Question], rows: Sequence[Row]) -> list[str]:
    """Return the possible pairs of answers that are in no row."""
    defaults = {question.name: question.default for question in questions}
    return [
        f"{one.name}={first!r} with {other.name}={second!r}"
        for one, other in combinations(questions, 2)
        for first in values(one)
        for second in values(other)
        if all(each.is_asked(defaults | {one.name: first, other.name: second}) for each in (one, other))
        and not any({one.name: first, other.name: second}.items() <= row.answers.items() for row in rows)
    ]
