"""Every choice of this project's own template, added to a service that exists and taken back."""

from pathlib import Path
from typing import Any

import pytest

from quickset import components, git
from quickset.answers import load_questions
from quickset.components import is_component
from quickset.new import Request, new
from quickset.source import Source
from tests.questions import REPOSITORY
from tests.updates.test_releases import files


def said(value: Any) -> str:
    """Write a value as on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


QUESTIONS = load_questions((REPOSITORY / "copier.yml").read_text())
# A question that comes later joins by itself.
CHOICES = {
    f"{question.name}={said(value)}": (question.name, value)
    for question in QUESTIONS.values()
    if is_component(question)
    for value in ((True, False) if question.type == "bool" else question.choices)
    if value != question.default
}
LAYOUTS = ("feature", "layered")


@pytest.fixture(scope="module")
def source() -> Source:
    """This project's template, as committed."""
    return Source(REPOSITORY)


def make(source: Source, folder: Path, **data: Any) -> Path:
    """Make a service of the committed template."""
    new(Request(path=folder, ref="HEAD", data={"project_name": "Shop", **data}, lock=False), template_source=source)
    return folder


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(source: Source, tmp_path: Path, layout: str, choice: str) -> None:
    """A choice that is made later gives the service that it gives at once, edits kept; taken back, the tree is back."""
    name, value = CHOICES[choice]
    service = make(source, tmp_path / "service", layout=layout)
    default = QUESTIONS[name].default
    edited = service / "app" / "main.py"
    edited.write_text(edited.read_text() + "\n# ours\n")
    git.run("commit", "--quiet", "--all", "--message", "Ours", cwd=service)
    before = files(service)

    there = components.add(service, [f"{name}={said(value)}"], lock=False, template_source=source)

    assert there.conflicts == ()
    assert edited.read_text().endswith("\n# ours\n")
    expected = files(make(source, tmp_path / "fresh", layout=layout, **{name: value}))
    assert {file: body for file, body in files(service).items() if file != "app/main.py"} == {
        file: body for file, body in expected.items() if file != "app/main.py"
    }
    git.run("commit", "--quiet", "--message", "There", cwd=service)
    back = components.add(service, [f"{name}={said(default)}"], lock=False, template_source=source)
    assert back.conflicts == ()
    assert files(service) == before
