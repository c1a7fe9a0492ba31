"""Refused answers and their messages: the rows that the matrix must not have."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.errors import UsageError
from quickset.templates.source import Source
from tests.questions import REPOSITORY, Answer, read_questions
from tests.rendering import render

RESERVED = "is a Python keyword, or the name of"
PACKAGE_FORM = "1 to 20 lowercase letters, digits and underscores"
NAME_FORM = "Enter 2 to 40 ASCII letters"
ONE_LINE = "1 to 200 characters on one line"
NO_BRACKETS = "without control characters, commas or angle brackets"
ADDRESS_FORM = "Enter an address such as name@example.com"

# An answer, its question and the expected message.
REFUSED: tuple[tuple[str, str, Answer, str], ...] = (
    ("keyword", "package_name", "class", RESERVED),
    ("soft-keyword", "package_name", "match", RESERVED),
    ("standard-library", "package_name", "json", RESERVED),
    ("dependency", "package_name", "fastapi", RESERVED),
    ("folder-of-the-service", "package_name", "tests", RESERVED),
    ("package-of-21-characters", "package_name", "a" * 21, PACKAGE_FORM),
    ("package-of-no-character", "package_name", "", PACKAGE_FORM),
    ("upper-case-package", "package_name", "App", PACKAGE_FORM),
    ("package-starts-with-digit", "package_name", "1app", PACKAGE_FORM),
    ("package-starts-with-underscore", "package_name", "_app", PACKAGE_FORM),
    ("package-with-dash", "package_name", "my-app", PACKAGE_FORM),
    ("package-with-umlaut", "package_name", "büro", PACKAGE_FORM),
    ("package-with-newline", "package_name", "app\n", PACKAGE_FORM),
    ("package-leaves-its-folder", "package_name", "../app", PACKAGE_FORM),
    ("name-of-no-character", "project_name", "", NAME_FORM),
    ("name-of-one-character", "project_name", "A", NAME_FORM),
    ("name-of-41-characters", "project_name", "A" * 41, NAME_FORM),
    ("name-with-umlaut", "project_name", "Büro", NAME_FORM),
    ("name-with-quote", "project_name", 'My "Service"', NAME_FORM),
    ("name-starts-with-digit", "project_name", "1st Service", NAME_FORM),
    ("name-ends-with-space", "project_name", "Service ", NAME_FORM),
    ("name-with-newline", "project_name", "Service\n", NAME_FORM),
    ("description-with-newline", "description", "One.\nTwo.", ONE_LINE),
    ("description-with-control-character", "description", "Rings a bell: \a", ONE_LINE),
    ("description-of-spaces", "description", "   ", ONE_LINE),
    ("description-of-201-characters", "description", "d" * 201, ONE_LINE),
    ("author-with-brackets", "author_name", "Jane <jane@example.com>", NO_BRACKETS),
    ("author-with-comma", "author_name", "Doe, Jane", NO_BRACKETS),
    ("author-with-newline", "author_name", "Jane\nDoe", NO_BRACKETS),
    ("author-of-101-characters", "author_name", "J" * 101, NO_BRACKETS),
    ("address-without-at", "author_email", "example.com", ADDRESS_FORM),
    ("address-without-dot", "author_email", "jane@localhost", ADDRESS_FORM),
    ("address-with-name", "author_email", "Jane <jane@example.com>", ADDRESS_FORM),
    ("address-with-newline", "author_email", "jane@example.com\n", ADDRESS_FORM),
    ("address-with-quote", "author_email", '"jane"@example.com', ADDRESS_FORM),
    ("neither-true-nor-false", "docker", "maybe", "neither true nor false"),
    ("unknown-question", "databse", "sqlite", "no question 'databse'; did you mean 'database'"),
    ("hidden-question", "orders", "{}", "'orders' is derived"),
    ("hidden-list", "reserved_names", "[]", "'reserved_names' is derived"),
    ("copiers-own-setting", "_tasks", "[]", "no question '_tasks'"),
)

# Answers that exclude each other, with the expected message: both names and a solution.
EXCLUDED: Mapping[str, tuple[Mapping[str, str], str]] = {
    "auth-without-database": (
        {"auth": "jwt", "database": "none"},
        "auth=jwt needs a database, but database=none. Choose a database, such as database=sqlite, or set auth=none.",
    ),
}
PAIRS = pytest.mark.parametrize(("answers", "words"), EXCLUDED.values(), ids=list(EXCLUDED))


@pytest.mark.parametrize(("question", "answer", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_answer_is_refused(question: str, answer: Answer, words: str, template: Path, tmp_path: Path) -> None:
    """The message contains a solution, and no folder is left behind."""
    with pytest.raises((UsageError, ValueError)) as refusal:
        render(template, tmp_path / "service", {question: answer})
    assert words in " ".join(str(refusal.value).split())
    assert not (tmp_path / "service").exists()


@pytest.mark.parametrize("question", [each.name for each in read_questions() if each.choices])
def test_unknown_choice_is_refused(question: str, template: Path, tmp_path: Path) -> None:
    """An unknown choice is refused with the name of its question."""
    with pytest.raises(UsageError, match=f"{question}: 'nonsense' is n"):
        render(template, tmp_path / "service", {question: "nonsense"})
    assert not (tmp_path / "service").exists()


@PAIRS
def test_answers_that_cannot_meet_are_refused_by_new(answers: Mapping[str, str], words: str, tmp_path: Path) -> None:
    """`new` refuses answers that exclude each other with both names and a solution, and creates nothing."""
    with pytest.raises(UsageError) as refusal:
        new(
            Request(path=tmp_path / "service", ref="HEAD", data=answers, lock=False), template_source=Source(REPOSITORY)
        )
    assert words in str(refusal.value)
    assert not (tmp_path / "service").exists()


@PAIRS
def test_answers_that_cannot_meet_are_refused_by_add(
    answers: Mapping[str, str], words: str, tmp_path: Path, author: None
) -> None:
    """`add` refuses each of two answers that exclude each other, and changes nothing."""
    source = Source(REPOSITORY)
    for name, value in answers.items():
        service = tmp_path / name
        data = {other: given for other, given in answers.items() if other != name}
        new(Request(path=service, ref="HEAD", data=data, lock=False), template_source=source)
        before = {path: path.read_bytes() for path in service.rglob("*") if path.is_file()}
        with pytest.raises(UsageError) as refusal:
            components.add(service, [f"{name}={value}"], lock=False, template_source=source)
        assert words in str(refusal.value)
        unchanged = {path: path.read_bytes() for path in service.rglob("*") if path.is_file()}
        assert {path: body for path, body in unchanged.items() if "quickset" not in path.parts} == before


@PAIRS
def test_answers_that_cannot_meet_are_refused_by_copier(
    answers: Mapping[str, str], words: str, template: Path, tmp_path: Path
) -> None:
    """Plain Copier refuses them too. Otherwise it would drop the one that its condition excludes."""
    data = [option for name, value in answers.items() for option in ("--data", f"{name}={value}")]
    done = subprocess.run(
        [Path(sys.executable).with_name("copier"), "copy", "--defaults", *data, template, tmp_path / "service"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "service").exists()
