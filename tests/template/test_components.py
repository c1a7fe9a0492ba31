"""Optional parts leave nothing behind when they are off, and change few shared files of a service."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from tests.questions import Answer, only_asked, read_questions
from tests.rendering import RenderService, read_tree

Tree = Mapping[str, str]

ANSWERS_FILE = ".copier-answers.yml"
QUESTIONS = read_questions()
DEFAULTS = {question.name: question.default for question in QUESTIONS}
DATABASES = next(question.choices for question in QUESTIONS if question.name == "database")
LAYOUTS = ("feature", "layered")


@dataclass(frozen=True)
class Component:
    """An optional part.

    Attributes:
        off: The answer without it.
        on: The answer with it.
        traces: Texts that show its presence.
        seams: The shared files that contain lines of it.
        rewritten: The shared files with a line that is different without it, and not only deleted.
    """

    off: Mapping[str, Answer]
    on: Mapping[str, Answer]
    traces: re.Pattern[str]
    seams: frozenset[str]
    rewritten: frozenset[str] = frozenset()


# Parts that are on by default would be in every comparison.
OFF: Mapping[str, Answer] = {"auth": "none", "rate_limit": "none"}
# The example's own modules, in both layouts, which depend on the parts of a service.
EXAMPLE = frozenset(
    {
        *(f"app/{folder}/orders.py" for folder in ("dependencies", "models", "repositories", "routers", "schemas", "services")),
        *(f"app/orders/{module}.py" for module in ("dependencies", "memory", "models", "repository", "router", "schemas", "service")),
        "app/repositories/memory.py",
        "migrations/versions/0001_orders.py",
        "tests/memory.py",
        "tests/test_order_service.py",
    }
)
COMPONENTS: Mapping[str, Component] = {
    "auth": Component(
        {"auth": "none"},
        {"auth": "jwt"},
        re.compile(
            r"\b(argon2|jwt|multipart|pwdlib|users)\b|access_token|create[-_]admin|owner_id|password_(hash|threads)"
            r"|refresh_token|\b(auth|user)_(router|service)|CurrentUser|\bsigned in\b",
            re.IGNORECASE,
        ),
        frozenset({".env.example", "README.md", "docs/resource.md", "app/api.py", "app/core/errors.py", "app/lifespan.py", "app/template_settings.py", "justfile", "pyproject.toml", "tests/conftest.py",}),
        EXAMPLE | frozenset({".env.example", "tests/conftest.py",}),
    ),
    "cache": Component(
        {"cache": "none"},
        {"cache": "memory"},
        re.compile(
            r"\bCache(Dep)?\b|cache_max|core\.cache|[Oo]rder_?[Ss]ummar|[Ss]ummari[sz]e"
        ),
        frozenset({".env.example", "README.md", "app/lifespan.py", "app/template_settings.py", "tests/conftest.py",}),
        EXAMPLE,
    ),
    "docker": Component(
        {"docker": False},
        {"docker": True},
        re.compile(r"docker|compose\b", re.IGNORECASE),
        frozenset({"README.md", "docs/extend.md",}),
        frozenset(),
    ),
    "example": Component(
        {"example": False},
        {"example": True},
        re.compile(r"\b[Oo]rders\b|\bOrder[A-Z]|\border_id\b|[Ii]nvoice"),
        frozenset({"README.md", "app/api.py",}),
        frozenset(),
    ),
    "database": Component(
        {"database": "none"},
        {"database": "sqlite"},
        re.compile(r"alembic|sqlalchemy|aiosqlite|asyncpg|asyncmy|migrat|database_|SessionDep", re.IGNORECASE),
        frozenset({".dockerignore", ".env.example", ".gitignore", "Dockerfile", "README.md", "docs/resource.md", "app/lifespan.py", "app/core/observability/logging.py", "app/template_settings.py", "compose.override.yaml", "compose.yaml", "justfile", "pyproject.toml", "tests/conftest.py", "tests/test_settings.py",}),
        frozenset(),
    ),
    "rate_limit": Component(
        {"rate_limit": "none"},
        {"rate_limit": "memory"},
        re.compile(r"rate.?limit(?!ed)|TOO_MANY_REQUESTS,|\b429\b(?!, \"rate_limited\")", re.IGNORECASE),
        frozenset({".env.example", "README.md", "app/commands/check.py", "app/lifespan.py", "app/core/http/openapi.py", "app/template_settings.py", "app/main.py", "tests/conftest.py",}),
        frozenset(),
    ),
    "http_client": Component(
        {"http_client": False},
        {"http_client": True},
        re.compile(
            r"http_client|HttpClient|stamina|(?-i:\bHTTP_[A-Z]+_)|exchange.?rates?|clients/|\.clients\b|upstream(?!` block)",
            re.IGNORECASE,
        ),
        frozenset({".env.example", "Dockerfile", "README.md", "app/lifespan.py", "app/core/observability/logging.py", "app/template_settings.py", "pyproject.toml",}),
        EXAMPLE | frozenset({"app/core/setting_types.py", "app/template_settings.py", "pyproject.toml",}),
    ),
    "template_updates": Component(
        {"template_updates": "none"},
        {"template_updates": "github"},
        re.compile(r"template.updates?\.(yml|sh)|TEMPLATE_UPDATES|quickset/update\b|^scripts|`scripts`"),
        frozenset({"README.md",}),
        frozenset(),
    ),
    "websockets": Component(
        {"websockets": False},
        {"websockets": True},
        re.compile(r"\b[Rr]ooms\b|websocket_(?!upgrade)|WEBSOCKET_|WebSocketMiddleware"),
        frozenset({".env.example", "README.md", "app/commands/serve.py", "app/core/http/drain.py", "app/core/http/error_handlers.py", "app/lifespan.py", "app/template_settings.py", "app/main.py", "app/core/http/server.py", "app/core/http/middleware/error_boundary.py",}),
        EXAMPLE | frozenset({"app/commands/serve.py", "app/core/http/drain.py", "app/core/http/error_handlers.py", "app/lifespan.py", "app/core/http/server.py", "app/core/http/middleware/error_boundary.py", "app/core/http/middleware/security_headers.py", "pyproject.toml",}),
    ),
    "streaming": Component(
        {"streaming": False},
        {"streaming": True},
        re.compile(
            r"\bcsv\b|EventStream|EventsDep|EVENTS_|events_(buffer|heartbeat)|STREAM_STALL|stream_stall|SendTimeout"
            r"|order_streams|[Ss]erver-sent"
        ),
        frozenset({".env.example", "README.md", "docs/extend.md", "app/core/http/drain.py", "app/lifespan.py", "app/main.py", "app/template_settings.py",}),
        EXAMPLE | frozenset({"app/core/http/drain.py", "app/lifespan.py", "pyproject.toml",}),
    ),
}
EACH = pytest.mark.parametrize("component", COMPONENTS.values(), ids=list(COMPONENTS))
IN_BOTH_LAYOUTS = pytest.mark.parametrize("layout", LAYOUTS)

Rendered = Callable[[Mapping[str, Answer]], Tree]


@pytest.fixture
def rendered(render_service: RenderService) -> Rendered:
    """Return a function that returns the files of a service."""
    return lambda answers: read_tree(render_service(only_asked(QUESTIONS, DEFAULTS | dict(answers))))


def base(component: Component, layout: str, **answers: Answer) -> dict[str, Answer]:
    """Return the answers with one part and no other large optional part."""
    return {"layout": layout, **OFF, **answers, **component.on}


@EACH
@IN_BOTH_LAYOUTS
def test_component_leaves_no_trace(component: Component, layout: str, rendered: Rendered) -> None:
    """A service without a part has no file and no line that mentions it."""
    tree = rendered({**base(component, layout), **component.off})
    lines = [
        f"{path}: {line.strip()}"
        for path, text in tree.items()
        for line in [path, *text.splitlines()]
        if path != ANSWERS_FILE and component.traces.search(line)
    ]
    assert lines == []


@EACH
def test_component_can_be_recognised(component: Component, rendered: Rendered) -> None:
    """A service with the part contains its traces."""
    assert component.traces.search("\n".join(rendered(base(component, "feature")).values()))


@EACH
@IN_BOTH_LAYOUTS
def test_component_plugs_in_at_its_seams(component: Component, layout: str, rendered: Rendered) -> None:
    """Besides its own files, a part has lines only in its known shared files."""
    # The example is written for its database, so it is left out of the comparison.
    answers = base(component, layout, example=component is COMPONENTS["example"])
    with_it, without = rendered(answers), rendered({**answers, **component.off})
    touched = {path for path in with_it.keys() & without.keys() if with_it[path] != without[path]}
    assert touched - {ANSWERS_FILE} <= component.seams


@pytest.mark.parametrize(
    ("name", "database"),
    [
        (name, database)
        for name in COMPONENTS
        for database in DATABASES
        # Authentication requires a database.
        if name != "database" and (name, database) != ("auth", "none")
    ],
)
@pytest.mark.parametrize("layout", ["feature", pytest.param("layered", marks=pytest.mark.ci)])
def test_component_is_removed_by_deleting(name: str, layout: str, database: str, rendered: Rendered) -> None:
    """Deleting a part's files and lines gives the same service as one without the part."""
    component = COMPONENTS[name]
    answers = base(component, layout, database=database)
    with_it, without = rendered(answers), rendered({**answers, **component.off})
    # The file that keeps an empty folder in git.
    assert {path for path in without.keys() - with_it.keys() if not path.endswith(".gitkeep")} == set()
    for path in with_it.keys() & without.keys() - {ANSWERS_FILE, "README.md"} - component.rewritten:
        before, after = with_it[path].splitlines(), without[path].splitlines()
        steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        added = [line for step, _, _, start, end in steps if step in {"insert", "replace"} for line in after[start:end]]
        assert added == [], path
