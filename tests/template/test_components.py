"""Optional parts leave nothing behind when they are off, and touch the rest of a service in few places."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.questions import Answer, read_questions
from tests.rendering import read_tree, render

Tree = Mapping[str, str]

ANSWERS_FILE = ".copier-answers.yml"
DATABASES = next(question.choices for question in read_questions() if question.name == "database")
LAYOUTS = ("feature", "layered")


@dataclass(frozen=True)
class Component:
    """A part that can be left out.

    Attributes:
        off: The answer without it.
        traces: What tells that it is there.
        seams: The shared files in which it has lines.
    """

    off: Mapping[str, Answer]
    traces: re.Pattern[str]
    seams: frozenset[str]


COMPONENTS: Mapping[str, Component] = {
    "auth": Component(
        {"auth": "none"},
        re.compile(
            r"\b(argon2|jwt|multipart|pwdlib|users)\b|access_token|create[-_]admin|owner_id|password_(hash|threads)"
            r"|refresh_token|\b(auth|user)_(router|service)|CurrentUser|\bsigned in\b",
            re.IGNORECASE,
        ),
        frozenset(
            {
                ".env.example",
                "README.md",
                "app/api.py",
                "app/core/errors.py",
                "app/core/lifespan.py",
                "app/core/settings.py",
                "app/core/state.py",
                "app/tables.py",
                "justfile",
                "pyproject.toml",
                "tests/conftest.py",
            }
        ),
    ),
    "docker": Component({"docker": False}, re.compile(r"docker|compose\b", re.IGNORECASE), frozenset({"README.md"})),
    "example": Component(
        {"example": False},
        re.compile(r"\b[Oo]rders\b|\bOrder[A-Z]|\border_id\b|[Ii]nvoice"),
        frozenset({"README.md", "app/api.py", "app/tables.py", "migrations/env.py", "tests/conftest.py"}),
    ),
    "database": Component(
        {"database": "none"},
        re.compile(r"alembic|sqlalchemy|aiosqlite|asyncpg|asyncmy|migrat|database_|SessionDep", re.IGNORECASE),
        frozenset(
            {
                ".dockerignore",
                ".env.example",
                ".gitignore",
                "Dockerfile",
                "README.md",
                "app/api.py",
                "app/core/dependencies.py",
                "app/core/errors.py",
                "app/core/lifespan.py",
                "app/core/settings.py",
                "app/core/state.py",
                "compose.override.yaml",
                "compose.yaml",
                "justfile",
                "pyproject.toml",
                "tests/conftest.py",
                "tests/test_settings.py",
            }
        ),
    ),
    "template_updates": Component(
        {"template_updates": "none"},
        re.compile(r"template.updates?\.(yml|sh)|TEMPLATE_UPDATES|quickset/update\b|^scripts|`scripts`"),
        frozenset({"README.md"}),
    ),
}
EACH = pytest.mark.parametrize("component", COMPONENTS.values(), ids=list(COMPONENTS))
IN_BOTH_LAYOUTS = pytest.mark.parametrize("layout", LAYOUTS)

Rendered = Callable[[Mapping[str, Answer]], Tree]


@pytest.fixture(scope="module")
def rendered(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return a function that gives the files of a service."""
    return lambda answers: read_tree(render(template, tmp_path_factory.mktemp("rendered") / "service", answers))


@EACH
@IN_BOTH_LAYOUTS
def test_component_leaves_no_trace(component: Component, layout: str, rendered: Rendered) -> None:
    """A service without a part has no file and no line that speaks of it."""
    tree = rendered({"layout": layout, **component.off})
    lines = [
        f"{path}: {line.strip()}"
        for path, text in tree.items()
        for line in [path, *text.splitlines()]
        if path != ANSWERS_FILE and component.traces.search(line)
    ]
    assert lines == []


@EACH
def test_component_can_be_recognised(component: Component, rendered: Rendered) -> None:
    """The traces are such that a service with the part has them."""
    assert component.traces.search("\n".join(rendered({}).values()))


@EACH
@IN_BOTH_LAYOUTS
def test_component_plugs_in_at_its_seams(component: Component, layout: str, rendered: Rendered) -> None:
    """Beside files of its own, a part has lines in those shared files alone that are known for it."""
    # The example is written for the database it uses, so it is not there to differ.
    base: dict[str, Answer] = {"layout": layout, "example": component is COMPONENTS["example"]}
    with_it, without = rendered(base), rendered({**base, **component.off})
    touched = {path for path in with_it.keys() & without.keys() if with_it[path] != without[path]}
    assert touched - {ANSWERS_FILE} <= component.seams


@pytest.mark.parametrize("name", ["docker", "example", "template_updates"])
@IN_BOTH_LAYOUTS
@pytest.mark.parametrize("database", DATABASES)
def test_component_is_removed_by_deleting(name: str, layout: str, database: str, rendered: Rendered) -> None:
    """Its files and its lines at the seams deleted, a service is what it had been without the part."""
    base: dict[str, Answer] = {"layout": layout, "database": database}
    with_it, without = rendered(base), rendered({**base, **COMPONENTS[name].off})
    # What keeps an empty folder in git, and a first migration, which is called after what it makes.
    own = (".gitkeep", "/0001_users.py")
    assert {path for path in without.keys() - with_it.keys() if not path.endswith(own)} == set()
    for path in with_it.keys() & without.keys() - {ANSWERS_FILE, "README.md"}:
        before, after = with_it[path].splitlines(), without[path].splitlines()
        steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        added = [line for step, _, _, start, end in steps if step in {"insert", "replace"} for line in after[start:end]]
        assert added == [], path
