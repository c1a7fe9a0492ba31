"""Which services are tried: presets, every single flip from the defaults, and every pair of answers somewhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from covertable import make

from quickset.answers import PRESETS, load_questions, preset
from tests.questions import REPOSITORY, Answer, Question

# Beside the default, what is tried for questions that have no choices.
TEXTS: Mapping[str, Sequence[str]] = {
    "project_name": ("X1", "An.Odd_Name - with 40 characters in it 9"),
    "description": ("""Sells "tea" & 'cakes' <to> Zoë \\ über 100 % #1 🚀: [ok], {too}; $HOME `id`""", "d" * 200),
    "author_name": ("""Zoë "Z" O'Neil-Müller \\ 🐙""", "Ä" * 100),
    "author_email": ("first.last+tag@mail.example.co.uk",),
    "package_name": ("a", "warehouse_operations"),
}


@dataclass(frozen=True)
class Row:
    """One service to try.

    Attributes:
        name: The id of its test.
        answers: An answer to every question.
    """

    name: str
    answers: Mapping[str, Answer]

    def __getitem__(self, question: str) -> Answer:
        """Return the answer to a question."""
        return self.answers[question]


def values(question: Question) -> list[Answer]:
    """Return the answers that are tried, the default first."""
    others = question.choices or TEXTS.get(question.name, ())
    return [question.default, *(value for value in others if value != question.default)]


def build_rows(questions: Sequence[Question]) -> list[Row]:
    """Return the rows of the matrix, without doubles, in an order that depends on the questions alone."""
    defaults = {question.name: question.default for question in questions}
    rows = [Row("defaults", defaults)]
    known = load_questions((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    rows += [Row(f"preset-{name}", defaults | preset(known, name)) for name in PRESETS]
    rows += [
        Row(f"flip-{question.name}-{_label(question, value)}", defaults | {question.name: value})
        for question in questions
        for value in values(question)[1:]
    ]
    pairs = make({question.name: values(question) for question in questions})
    rows += [Row(f"pair-{number:02}-{_summary(questions, row)}", row) for number, row in enumerate(pairs)]
    return list(_distinct(rows))


def _distinct(rows: Iterable[Row]) -> Iterable[Row]:
    seen = []
    for row in rows:
        if row.answers not in seen:
            seen.append(row.answers)
            yield row


def _label(question: Question, value: Answer) -> str:
    """Name an answer in ASCII."""
    return str(value).lower() if question.choices else f"text{values(question).index(value)}"


def _summary(questions: Iterable[Question], answers: Mapping[str, Answer]) -> str:
    """Name the choices of a row that are not the defaults."""
    chosen = [
        f"{'' if value else 'no-'}{question.name}" if isinstance(value, bool) else str(value)
        for question in questions
        if question.choices and (value := answers[question.name]) != question.default
    ]
    return "-".join(chosen) or "defaults"


def missing_answers(questions: Sequence[Question], rows: Sequence[Row]) -> list[str]:
    """Return the choices that are in no row."""
    return [
        f"{question.name}={choice}"
        for question in questions
        for choice in question.choices
        if not any(row[question.name] == choice for row in rows)
    ]


def missing_pairs(questions: Sequence[Question], rows: Sequence[Row]) -> list[str]:
    """Return the pairs of answers that no row has together."""
    return [
        f"{one.name}={first!r} with {other.name}={second!r}"
        for one, other in combinations(questions, 2)
        for first in values(one)
        for second in values(other)
        if not any(row[one.name] == first and row[other.name] == second for row in rows)
    ]
