"""Signing in added to a service that has orders, and removed again: the printed commands, run as printed."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from quickset import git
from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.templates.source import Source
from quickset.updating.result import UpdateResult
from tests.questions import REPOSITORY
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.running import FileStore, Project, ServerStore, Service, Settings, Store, Variant, order
from tests.services.servers import Kind, MissingServerError, Server
from tests.services.trial import clean_environment

pytestmark = pytest.mark.ci

VARIANTS = (
    Variant("feature", "sqlite", "envelope"),
    Variant("layered", "postgresql", "problem"),
    Variant("feature", "mysql", "envelope"),
)
PASSWORD = "correct horse battery"
# Runs what follows `uv run` in the environment of the tests, which needs no index.
UV = '#!/bin/sh\n[ "$1" = run ] && shift && exec "$@"\n'
ORDERS = "/api/v1/orders"


@dataclass
class Owned:
    """A service that somebody owns: in a repository, with a database.

    Attributes:
        folder: Where it is.
        tools: A folder for programs of ours.
        store: Its database.
        variant: How it was rendered.
    """

    folder: Path
    tools: Path
    store: Store
    variant: Variant

    @property
    def settings(self) -> Settings:
        """What it needs to find its database."""
        return {"DATABASE_URL": self.store.url, "DATABASE_PASSWORD": ""}

    @property
    def project(self) -> Project:
        """The service with the dependencies that it has now."""
        return Project(
            self.folder, environment_of(self.folder, python_for("3.11") or newest_python()).python, self.variant
        )

    def replace(self, name: str, old: str, new_text: str) -> None:
        """Change a text in one of its files."""
        text = (self.folder / name).read_text()
        assert text.count(old) == 1
        (self.folder / name).write_text(text.replace(old, new_text))

    def commit(self) -> None:
        """Commit everything."""
        git.run("add", "--all", cwd=self.folder)
        git.run("commit", "--quiet", "--no-verify", "--message", "Ours", cwd=self.folder)

    def sh(self, command: str, text: str = "") -> str:
        """Run a command of the shell as its owner types it."""
        (self.tools / "uv").write_text(UV)
        (self.tools / "uv").chmod(0o755)
        environment = dict(self.project.environment(self.settings))
        environment["PATH"] = f"{self.tools}:{self.project.python.parent}:{clean_environment()['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=environment,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def follow(self, result: UpdateResult, *tests: str) -> None:
        """Do what is printed at the end of an `add` or a `remove`, and run tests of the service, or all of them."""
        assert result.conflicts == ()
        for step in result.next_steps:
            self.sh(step)
        server = f"TEST_DATABASE_URL={self.store.url} " if self.variant.database != "sqlite" else ""
        test = f"{server}python -m pytest -q -n 2 {' '.join(tests)}"
        for command in ("ruff format --check migrations", "ruff check .", test):
            self.sh(command)
        self.commit()


@pytest.fixture(params=[VARIANTS[0], *(pytest.param(each, marks=pytest.mark.full) for each in VARIANTS[1:])], ids=str)
def owned(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    author: None,
) -> Iterator[Owned]:
    """A service without users, with a migration of its own, and with orders."""
    variant: Variant = request.param
    with ExitStack() as stack:
        store: Store = FileStore(tmp_path / "shop.db")
        if variant.database in {"postgresql", "mysql"}:
            kind: Kind = "postgresql" if variant.database == "postgresql" else "mysql"
            try:
                server = server_of(kind)
            except MissingServerError as error:
                missing_server(str(error))
            store = ServerStore(server, stack.enter_context(server.database()))
        answers = {
            "project_name": "Shop",
            "package_name": "shop",
            "layout": variant.layout,
            "database": variant.database,
            "error_format": variant.error_format,
            "auth": "none",
            "rate_limit": "none",
        }
        folder = tmp_path / "service"
        new(Request(path=folder, ref="HEAD", data=answers, lock=False), template_source=Source(REPOSITORY))
        (tmp_path / "tools").mkdir()
        owned = Owned(folder, tmp_path / "tools", store, variant)
        models = "shop/orders/models.py" if variant.layout == "feature" else "shop/models/orders.py"
        owned.replace(
            models, "customer: Mapped[str] = mapped_column(String(200))",
            "customer: Mapped[str] = mapped_column(String(200), index=True)",
        )  # fmt: skip
        owned.sh("uv run python -m shop migrate")
        owned.sh('uv run alembic revision --autogenerate -m "find customers"')
        owned.sh("uv run python -m shop migrate")
        owned.commit()
        yield owned


def seen(client: httpx2.Client) -> dict[str, int]:
    """Return the orders that a client sees, by reference, with the number of their lines."""
    listed = client.get(ORDERS, params={"size": 100})
    assert listed.status_code == 200, listed.text
    read = [client.get(f"{ORDERS}/{item['id']}").json() for item in listed.json()["items"]]
    return {item["reference"]: len(item["lines"]) for item in read}


@contextmanager
def signed_in(service: Service, email: str) -> Iterator[httpx2.Client]:
    """Yield a client who is signed in."""
    with httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client:
        answer = client.post("/api/v1/auth/token", data={"username": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def test_add_and_remove(owned: Owned) -> None:
    """Each says which migration to make; after it all orders are there, and the service's tests pass."""
    with owned.project.start(owned.settings, module="shop") as service:
        assert all(service.create_order(reference).status_code == 201 for reference in ("OLD-1", "OLD-2"))
        before = seen(service.client)
    assert before == {"OLD-1": 1, "OLD-2": 1}

    added = components.add(owned.folder, ["auth"], lock=False, template_source=Source(REPOSITORY))

    migrate = "uv run python -m shop migrate"
    write = f'{migrate} && uv run alembic revision --autogenerate -m "add auth"'
    assert added.next_steps == (
        f"{write}   # then read the new file in migrations/versions",
        f"{migrate} && git add migrations/versions",
    )
    assert {entry.version for entry in added.deploy} == {"auth"}
    owned.follow(added)
    owned.sh("uv run python -m shop create-admin admin@example.com", f"{PASSWORD}\n")
    with owned.project.start(owned.settings, module="shop") as service:
        assert service.request("GET", ORDERS).status_code == 401
        registration = {"email": "jane@example.com", "password": PASSWORD}
        assert service.request("POST", "/api/v1/auth/register", json=registration).status_code == 201
        with signed_in(service, "admin@example.com") as admin, signed_in(service, "jane@example.com") as jane:
            assert seen(admin) == before
            assert seen(jane) == {}
            assert jane.post(ORDERS, json=order("NEW-1")).status_code == 201
            assert seen(jane) == {"NEW-1": 1}
            assert seen(admin) == before | {"NEW-1": 1}

    removed = components.remove(owned.folder, ["auth"], lock=False, template_source=Source(REPOSITORY))

    write = f'{migrate} && uv run alembic revision --autogenerate -m "remove auth"'
    assert removed.next_steps == (
        f"{write}   # then read the new file in migrations/versions",
        f"{migrate} && git add migrations/versions",
    )
    owned.follow(removed, "tests/test_database.py", "tests/test_orders.py")
    with owned.project.start(owned.settings, module="shop") as service:
        assert seen(service.client) == before | {"NEW-1": 1}
