"""Optional parts leave nothing behind when they are off, and touch the rest of a service in few places."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        on: What a service has that is compared to the one without it, beside the defaults.
        traces: What tells that it is there.
        seams: The shared files in which it has lines.
        rewritten: Those of them in which a line reads otherwise without it, and so is not just deleted.
    """

    off: Mapping[str, Answer]
    traces: re.Pattern[str]
    seams: frozenset[str]
    on: Mapping[str, Answer] = field(default_factory=dict)
    rewritten: frozenset[str] = frozenset()


COMPONENTS: Mapping[str, Component] = {
    "auth": Component(
        {"auth": "none"},
        re.compile(
            r"\b(argon2|jwt|multipart|pwdlib|users)\b|access_token|create[-_]admin|owner_id|password_(hash|threads)"
            r"|refresh_token|\b(auth|user)_(router|service)|CurrentUser|\bsigned in\b",
            re.IGNORECASE,
        ),
    "cache": Component(
        {"cache": "none"},
        re.compile(r"\bCache(Store|Dep)?\b|cache_max|core\.cache|@cached|[Oo]rder_?[Ss]ummary|[Ss]ummari[sz]e|OrderChanges|after_commit"),
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
                "app/core/database.py",
                "app/core/dependencies.py",
                "app/core/lifespan.py",
                "app/core/settings.py",
                "app/core/state.py",
                "tests/conftest.py",
            }
        ),
        {"cache": "memory"},
        frozenset(
            {
                "app/core/database.py",
                "app/core/dependencies.py",
                "app/dependencies/orders.py",
                "app/orders/dependencies.py",
                "app/orders/memory.py",
                "app/orders/repository.py",
                "app/orders/router.py",
                "app/orders/service.py",
                "app/repositories/memory.py",
                "app/repositories/orders.py",
                "app/routers/orders.py",
                "app/services/orders.py",
                "tests/memory.py",
                "tests/test_order_service.py",
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
    "rate_limit": Component(
        {"rate_limit": "none"},
        re.compile(r"rate.?limit(?!ed)|TOO_MANY_REQUESTS,|\b429\b(?!, \"rate_limited\")", re.IGNORECASE),
        frozenset(
            {
                ".env.example",
                "README.md",
                "app/core/error_handlers.py",
                "app/core/lifespan.py",
                "app/core/settings.py",
                "app/middleware/__init__.py",
                "tests/conftest.py",
    "http_client": Component(
        {"http_client": False},
        re.compile(r"http_client|HttpClient|stamina|\bHTTP_[A-Z]+_|exchange.?rates?|clients/|\.clients\b|[Uu]pstream", re.IGNORECASE),
        frozenset(
            {
                ".env.example",
                "Dockerfile",
                "README.md",
                "app/core/dependencies.py",
                "app/core/lifespan.py",
                "app/core/logging.py",
                "app/core/settings.py",
                "app/core/state.py",
                "pyproject.toml",
            }
        ),
        {"http_client": True},
        frozenset(
            {
                "app/dependencies/orders.py",
                "app/orders/dependencies.py",
                "app/orders/router.py",
                "app/orders/service.py",
                "app/routers/orders.py",
                "app/services/orders.py",
                "pyproject.toml",
            }
        ),
    ),
    "template_updates": Component(
        {"template_updates": "none"},
        re.compile(r"template.updates?\.(yml|sh)|TEMPLATE_UPDATES|quickset/update\b|^scripts|`scripts`"),
        frozenset({"README.md"}),
    ),
    "websockets": Component(
        {"websockets": False},
        re.compile(r"\b[Rr]ooms\b|websocket_|WEBSOCKET_|ServiceWebSocket"),
    "streaming": Component(
        {"streaming": False},
        re.compile(
            r"\bcsv\b|EXPORT_TIMEOUT|export_timeout|EventStream|EventsDep|EVENTS_|events_|STREAM_STALL|stream_stall"
            r"|order_streams|StreamedResponse|[Ss]erver-sent|\blimited:"
        ),
        frozenset(
            {
                ".env.example",
                "README.md",
                "app/__main__.py",
                "app/api.py",
                "app/core/dependencies.py",
                "app/core/drain.py",
                "app/core/error_handlers.py",
                "app/core/lifespan.py",
                "app/core/logging.py",
                "app/core/settings.py",
                "app/core/state.py",
                "app/middleware/__init__.py",
                "app/middleware/access_log.py",
                "app/middleware/error_boundary.py",
                "app/middleware/request_context.py",
                "pyproject.toml",
                "tests/test_app.py",
                "tests/test_health.py",
                "tests/test_middleware.py",
            }
        ),
        {"websockets": True},
        frozenset(
            {
                "app/__main__.py",
                "app/core/dependencies.py",
                "app/core/drain.py",
                "app/core/error_handlers.py",
                "app/core/lifespan.py",
                "app/core/logging.py",
                "app/dependencies/orders.py",
                "app/middleware/access_log.py",
                "app/middleware/error_boundary.py",
                "app/middleware/request_context.py",
                "app/middleware/security_headers.py",
                "app/orders/dependencies.py",
                "pyproject.toml",
                "tests/test_app.py",
                "tests/test_health.py",
                "tests/test_middleware.py",
                "app/core/database.py",
                "app/core/dependencies.py",
                "app/core/drain.py",
                "app/core/lifespan.py",
                "app/core/settings.py",
                "app/core/state.py",
                "pyproject.toml",
                "tests/test_health.py",
            }
        ),
        {"streaming": True},
        frozenset(
            {
                "app/core/database.py",
                "app/core/drain.py",
                "app/core/lifespan.py",
                "app/dependencies/orders.py",
                "app/orders/dependencies.py",
                "app/orders/memory.py",
                "app/orders/repository.py",
                "app/orders/schemas.py",
                "app/orders/service.py",
                "app/repositories/memory.py",
                "app/repositories/orders.py",
                "app/schemas/orders.py",
                "app/services/orders.py",
                "pyproject.toml",
                "tests/memory.py",
                "tests/test_health.py",
                "tests/test_order_service.py",
            }
        ),
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
    assert component.traces.search("\n".join(rendered(component.on).values()))


@EACH
@IN_BOTH_LAYOUTS
def test_component_plugs_in_at_its_seams(component: Component, layout: str, rendered: Rendered) -> None:
    """Beside files of its own, a part has lines in those shared files alone that are known for it."""
    # The example is written for the database it uses, and limits for who signs in, so they are not there to differ.
    base: dict[str, Answer] = {"layout": layout, "example": component is COMPONENTS["example"]}
    base |= {} if component is COMPONENTS["rate_limit"] else COMPONENTS["rate_limit"].off
    # The example is written for the database it uses, so it is not there to differ.
    base: dict[str, Answer] = {"layout": layout, "example": component is COMPONENTS["example"], **component.on}
    with_it, without = rendered(base), rendered({**base, **component.off})
    touched = {path for path in with_it.keys() & without.keys() if with_it[path] != without[path]}
    assert touched - {ANSWERS_FILE} <= component.seams


@pytest.mark.parametrize("name", ["auth", "docker", "example", "template_updates"])
@pytest.mark.parametrize("name", ["docker", "example", "rate_limit", "template_updates"])
@pytest.mark.parametrize("name", ["docker", "example", "template_updates", "websockets"])
@pytest.mark.parametrize("name", ["docker", "example", "template_updates"])
@pytest.mark.parametrize("name", ["cache", "docker", "example", "http_client", "template_updates"])
@pytest.mark.parametrize("name", ["docker", "example", "streaming", "template_updates"])
@IN_BOTH_LAYOUTS
@pytest.mark.parametrize("database", DATABASES)
def test_component_is_removed_by_deleting(name: str, layout: str, database: str, rendered: Rendered) -> None:
    """Its files and its lines at the seams deleted, a service is what it had been without the part."""
    # Which routes are limited depends on which there are.
    limits = {} if name == "rate_limit" else COMPONENTS["rate_limit"].off
    base: dict[str, Answer] = {"layout": layout, "database": database, **limits}
    with_it, without = rendered(base), rendered({**base, **COMPONENTS[name].off})
    component = COMPONENTS[name]
    base: dict[str, Answer] = {"layout": layout, "database": database, **component.on}
    with_it, without = rendered(base), rendered({**base, **component.off})
    # What keeps an empty folder in git.
    assert {path for path in without.keys() - with_it.keys() if not path.endswith(".gitkeep")} == set()
    for path in with_it.keys() & without.keys() - {ANSWERS_FILE, "README.md"} - component.rewritten:
    # What keeps an empty folder in git, and a first migration, which is called after what it makes.
    own = (".gitkeep", "/0001_users.py")
    assert {path for path in without.keys() - with_it.keys() if not path.endswith(own)} == set()
    for path in with_it.keys() & without.keys() - {ANSWERS_FILE, "README.md"}:
        before, after = with_it[path].splitlines(), without[path].splitlines()
        steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        added = [line for step, _, _, start, end in steps if step in {"insert", "replace"} for line in after[start:end]]
        assert added == [], path
