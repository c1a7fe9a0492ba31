"""An owner's additions in the places that survive every component change, and the update from the last release."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from quickset import git
from quickset.commands import components
from quickset.commands import update as engine
from quickset.commands.new import Request, new
from quickset.templates.questions import is_component, load_questions
from quickset.templates.source import Source
from quickset.templates.upgrades import is_off
from tests.questions import REPOSITORY
from tests.rendering import render
from tests.services.conftest import missing_server, server_of
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.guides import EXTEND, RESOURCE, follow
from tests.services.owned import Owned, store_of
from tests.services.running import Variant
from tests.services.servers import Kind, Server
from tests.services.test_compose import services
from tests.updates.owners import Layout, add_notes, module, path
from tests.updates.test_components import as_option

pytestmark = pytest.mark.ci

__all__ = ["missing_server", "server_of"]

EVERY_CHECK = bool(os.environ.get("QUICKSET_TEST_EVERYTHING"))
LAST_RELEASE = "0.3.4"
# Tests of updates have their own home, but the environments are in the home of the person who runs them.
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")

VARIANTS = [
    Variant("feature", "sqlite", "envelope"),
    Variant("layered", "postgresql", "envelope"),
    pytest.param(Variant("feature", "postgresql", "envelope"), marks=pytest.mark.full),
    pytest.param(Variant("layered", "sqlite", "envelope"), marks=pytest.mark.full),
]
COMPONENTS = {
    question.name: question
    for question in load_questions((REPOSITORY / "copier.yml").read_text()).values()
    if is_component(question)
}
# These change only texts, a job and the oldest Python, and none of their lines is next to a line of the owner.
RARE = {"license", "python_version", "template_updates"}
# The resource needs a database, and its rows stay in the old one.
FIXED = {"database"}
OTHER_DATABASES = {"sqlite", "postgresql", "mysql"}

OWN_TESTS = '''"""Tests of the additions from docs/extend.md."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app import disk
from app.settings import Settings

from tests.conftest import connect


async def test_setting_is_read(settings: Settings) -> None:
    """The setting has its default."""
    assert settings.mail_sender == "notes@example.com"


async def test_middleware_is_there(client: AsyncClient) -> None:
    """A long response is compressed."""
    assert (await client.get("/openapi.json")).headers["content-encoding"] == "gzip"


async def test_readiness_asks_the_check(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is not ready when the check fails."""
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", 10**18)
    async with connect(app) as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    assert "disk" in response.text


async def test_subscriber_gets_what_was_opened(
    client: AsyncClient, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscriber sends a message with the mailer that the lifespan opened."""
    sent = []

    async def send(text: str) -> None:
        sent.append(text)

    monkeypatch.setattr(resources["mailer"], "send", send)
    assert (await client.post("/api/v1/notes", json={"text": "Buy milk"})).status_code == 201
    assert sent == ["New note: Buy milk"]
'''
OWN = "tests/test_notes.py tests/test_own.py"
CODE = ("app", "migrations", "pyproject.toml", "tests")


@pytest.fixture
def source() -> Source:
    """This project's template at its last commit."""
    return Source(REPOSITORY)


@pytest.fixture
def owned(
    request: pytest.FixtureRequest,
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
) -> Iterator[Owned]:
    """A path for a service with a database, and an environment in which every component runs."""
    variant: Variant = request.param
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    everything = {
        "database": variant.database, "cache": "memory", "http_client": True, "websockets": True, "streaming": True,
    }  # fmt: skip
    shared = environment_of(
        render(template, tmp_path / "everything", everything), python_for("3.11") or newest_python()
    )
    with ExitStack() as stack:
        store = store_of(variant.database, tmp_path, server_of, missing_server, stack)
        yield Owned(tmp_path / "service", tmp_path / "tools", store, variant, shared)


def make(owned: Owned, source: Source, ref: str) -> None:
    """Create the service with the defaults."""
    data = {"project_name": "Shop", "layout": owned.variant.layout, "database": owned.variant.database}
    new(Request(path=owned.folder, ref=ref, data=data, lock=False), template_source=source)


def own(owned: Owned) -> None:
    """Add the parts that the service's guides describe, in their words, and commit them."""
    commands = follow(owned.folder, RESOURCE)
    follow(owned.folder, EXTEND)
    (owned.folder / "tests" / "test_own.py").write_text(OWN_TESTS)
    for command in commands:
        if command != "uv run just check":
            owned.sh(command)
    owned.commit()


def steps() -> Iterator[str]:
    """Yield every change of a component: each other choice, and finally the default again."""
    for name, question in COMPONENTS.items():
        if name in FIXED or (name in RARE and not EVERY_CHECK):
            continue
        choices = [True, False] if question.type == "bool" else question.choices
        for choice in [*(choice for choice in choices if choice != question.default), question.default]:
            yield f"{name}={as_option(choice)}"


def change(owned: Owned, source: Source, step: str) -> None:
    """Add or remove a component, and follow the printed steps."""
    name, _, value = step.partition("=")
    act = components.remove if is_off(COMPONENTS[name].parse(value)) else components.add
    given = name if act is components.remove else step
    result = act(owned.folder, [given], lock=False, template_source=source)
    assert (step, result.conflicts) == (step, ())
    dotenv = owned.folder / ".env"
    for deleted in re.findall(r"delete ([A-Z_, ]+)", "".join(result.notes)):
        lines = dotenv.read_text().splitlines(keepends=True)
        dotenv.write_text("".join(line for line in lines if line.partition("=")[0] not in deleted.split(", ")))
    owned.migrate(result)
    owned.commit()


def code(owned: Owned) -> str:
    """Return the identity of the code's state. Checks that passed in a state are not repeated."""
    return git.run("rev-parse", *(f"HEAD:{part}" for part in CODE), cwd=owned.folder)


def ours(owned: Owned) -> dict[str, str]:
    """Return the committed files of the service except migrations, which only grow."""
    lines = git.run("ls-tree", "-r", "HEAD", cwd=owned.folder).splitlines()
    entries = (line.split("\t") for line in lines)
    return {name: entry for entry, name in entries if not name.startswith("migrations/versions/")}


@pytest.mark.parametrize("owned", VARIANTS, indirect=True, ids=str)
def test_components_come_and_go(owned: Owned, source: Source) -> None:
    """The owner's additions survive each component change without a conflict and work after it."""
    make(owned, source, "HEAD")
    own(owned)
    before, tested = ours(owned), {code(owned)}

    for step in steps():
        change(owned, source, step)
        # Code for a newer Python may not run on the oldest one.
        if code(owned) not in tested and not step.startswith("python_version"):
            tested.add(code(owned))
            owned.sh("uv run just check" if EVERY_CHECK else f"python -m pytest -q -p no:cacheprovider {OWN}")
        if step.startswith("docker"):
            assert (owned.folder / "compose.yaml").exists() is (step == "docker=true")

    assert "mail" in services(owned.folder)
    assert ours(owned) == before
    for choice in OTHER_DATABASES - {owned.variant.database}:
        other = components.add(owned.folder, [f"database={choice}"], lock=False, dry_run=True, template_source=source)
        assert (choice, other.conflicts) == (choice, ())
    assert 'drop_table("notes")' not in "".join(upgrades_of(owned))
    owned.sh("uv run alembic check")
    owned.sh("uv run just check")


def upgrades_of(owned: Owned) -> Iterator[str]:
    """Yield the upgrade steps of each migration."""
    for file in (owned.folder / "migrations" / "versions").glob("*.py"):
        yield file.read_text().partition("def downgrade")[0]


@pytest.mark.parametrize("owned", VARIANTS, indirect=True, ids=str)
def test_from_the_last_release(owned: Owned, source: Source) -> None:
    """A resource of 0.3.4 gets one conflict, in `api.py`, and each of its lines there and in `tables.py` is listed."""
    layout: Layout = owned.variant.layout
    make(owned, source, LAST_RELEASE)
    add_notes(owned.folder, layout)
    owned.commit()
    request = engine.Request(path=owned.folder, to="HEAD", lock=False)

    listed = engine.preview(request, template_source=source)
    result = engine.update(replace(request, fix_imports=True), template_source=source)

    assert listed.conflicts == result.conflicts == ("app/api.py",)
    assert [change.path for change in result.changes if change.kind == "kept"] == ["app/tables.py"]
    router, model = module("router", layout), module("models", layout)
    line = f"from {router} import router as notes_router"
    assert [(each.path, each.old, each.new) for each in result.references if each.kind == "line"] == [
        ("app/api.py", line, f"app/resources.py: {line}"),
        ("app/api.py", "v1.include_router(notes_router)", "app/resources.py: notes_router, in `routers`"),
        *(
            ("app/tables.py", old, "app/resources.py: Note in `models`, unless a router uses it")
            for old in (f"from {model} import Note", '"Note",')
        ),
    ]
    imports = {(each.path, each.old, each.new) for each in listed.references if each.kind == "import"}
    assert imports == {
        (
            path(module("dependencies", layout)),
            "from app.core.dependencies import SessionDep",
            "from app.core.db.dependencies import SessionDep",
        ),
        (path(model), "from app.core.database import Base", "from app.core.db.database import Base"),
        (
            path(router),
            "from app.core.error_handlers import errors",
            "from app.core.http.error_handlers import errors",
        ),
        (
            path(module("schemas", layout)),
            f"from {module('schemas', layout, 'orders')} import Input, Output",
            "from app.core.schemas import Input, Output",
        ),
        ("app/tables.py", "from app.core.database import Base", "from app.core.db.database import Base"),
    }

    git.run("checkout", "--theirs", "app/api.py", cwd=owned.folder)
    git.run("add", "--all", cwd=owned.folder)
    assert engine.resume(owned.folder, lock=False).conflicts == ()
    [note] = result.notes
    assert "set again RATE_LIMIT_ROUTES" in note
    owned.sh("sed -i '/^RATE_LIMIT_ROUTES=/d' .env")
    # The model is only in `tables.py` now. Its table is not dropped.
    owned.sh("uv run python -m app migrate")
    owned.sh("uv run alembic check")

    # The owner's resolution.
    owned.replace("app/resources.py", "from app.settings", f"{line}\nfrom app.settings")
    owned.replace("app/resources.py", "routers: list[APIRouter] = [", "routers: list[APIRouter] = [\n    notes_router,")
    (owned.folder / "app" / "tables.py").unlink()
    owned.commit()
    for command in (
        "alembic check",
        "python -m pytest -q tests/test_notes.py",
        "lint-imports",
    ):
        owned.sh(f"uv run {command}")
    if EVERY_CHECK:
        owned.sh("ruff check --fix -q . && ruff format -q . && uv run just check")
