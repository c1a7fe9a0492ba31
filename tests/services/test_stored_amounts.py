"""A service of 0.3.4 with orders is updated without a change to stored columns or amounts."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from quickset import git
from quickset.commands.new import Request, new
from quickset.commands.update import Request as Update
from quickset.commands.update import update
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.templates.source import Source
from tests.questions import REPOSITORY
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.running import FileStore, Project, ServerStore, Service, Store, Variant
from tests.services.servers import Kind, MissingServerError, Server

pytestmark = pytest.mark.ci

BEFORE = "0.3.4"
VARIANTS = (
    Variant("feature", "sqlite", "envelope"),
    Variant("layered", "postgresql", "envelope"),
    Variant("feature", "mysql", "envelope"),
)
PARTS = {"streaming": True, "rate_limit": "none"}
ORDERS = "/api/v1/orders"
LINES = [("TEA", 3, "19.99"), ("CUP", 1, "0.05"), ("POT", 2, "1234567.80")]
SCHEMA = """
import asyncio, json, os
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import create_async_engine

def read(connection):
    inspector = inspect(connection)
    names = sorted(inspector.get_table_names())
    return {
        name: {
            "columns": {each["name"]: f"{each['type']!r} {each['nullable']}" for each in inspector.get_columns(name)},
            "key": inspector.get_pk_constraint(name),
            "indexes": sorted(map(str, inspector.get_indexes(name))),
            "uniques": sorted(map(str, inspector.get_unique_constraints(name))),
            "foreign": sorted(map(str, inspector.get_foreign_keys(name))),
        }
        for name in names
    }

async def main():
    async with create_async_engine(os.environ["DATABASE_URL"]).connect() as connection:
        print(json.dumps(await connection.run_sync(read)))

asyncio.run(main())
"""

Schema = dict[str, dict[str, Any]]
MakeStore = Callable[[], Store]


def commit(folder: Path) -> None:
    """Commit everything."""
    git.run("add", "--all", cwd=folder)
    git.run("commit", "--quiet", "--no-verify", "--allow-empty", "--message", "Ours", cwd=folder)


def project_of(folder: Path, variant: Variant) -> Project:
    """Return a service with its current dependencies."""
    return Project(folder, environment_of(folder, python_for("3.11") or newest_python()).python, variant)


def run(project: Project, store: Store, *arguments: str) -> str:
    """Run its Python on a database and return the output."""
    finished = project.run(*arguments, settings={"DATABASE_URL": store.url, "DATABASE_PASSWORD": ""})
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def schema(project: Project, store: Store) -> Schema:
    """Return the table definitions of a database."""
    found: Schema = json.loads(run(project, store, "-c", SCHEMA))
    return found


@contextmanager
def serving(project: Project, store: Store) -> Iterator[Service]:
    """Yield the service with a signed-in client."""
    with project.start({"DATABASE_URL": store.url, "DATABASE_PASSWORD": ""}, module="shop") as service:
        service.sign_in()
        yield service


def order(service: Service, reference: str, lines: list[tuple[str, int, str]]) -> None:
    """Create an order."""
    parts = [{"sku": sku, "quantity": quantity, "unit_price": price} for sku, quantity, price in lines]
    created = service.client.post(ORDERS, json={"reference": reference, "customer": "Jane", "lines": parts})
    assert created.status_code == 201, created.text


def seen(service: Service) -> dict[str, Any]:
    """Return all data about orders in the API: each of them, and the export."""
    listed = service.client.get(ORDERS, params={"size": 100}).json()["items"]
    export = service.client.get(f"{ORDERS}/export")
    assert export.status_code == 200, export.text
    return {
        "orders": [service.client.get(f"{ORDERS}/{each['id']}").json() for each in listed],
        "export": export.text,
    }


@pytest.fixture
def make_store(
    variant: Variant, tmp_path: Path, server_of: Callable[[Kind], Server], missing_server: Callable[[str], None]
) -> Iterator[MakeStore]:
    """Return a function that creates an empty database."""
    with ExitStack() as stack:
        if variant.database in {"postgresql", "mysql"}:
            kind: Kind = "postgresql" if variant.database == "postgresql" else "mysql"
            try:
                server = server_of(kind)
            except MissingServerError as error:
                missing_server(str(error))
            yield lambda: ServerStore(server, stack.enter_context(server.database()))
        else:
            paths = iter(range(10))
            yield lambda: FileStore(tmp_path / f"shop-{next(paths)}.db")


@pytest.mark.parametrize(
    "variant", [*VARIANTS[:2], pytest.param(VARIANTS[2], marks=pytest.mark.full)], ids=str
)  # fmt: skip
def test_update_keeps_stored_amounts(variant: Variant, tmp_path: Path, make_store: MakeStore, author: None) -> None:
    """The API returns the same amounts, there is nothing to migrate, and a new database has the same schema."""
    source = Source(REPOSITORY)
    answers = {"project_name": "Shop", "package_name": "shop", "layout": variant.layout, "database": variant.database}
    folder, store = tmp_path / "service", make_store()
    new(Request(path=folder, ref=BEFORE, data=answers | PARTS, lock=False), template_source=source)
    old = project_of(folder, variant)
    run(old, store, "-m", "shop.migrate")
    with serving(old, store) as service:
        order(service, "A-1", LINES)
        order(service, "A-2", LINES[:2])
        before = seen(service)
    assert [each["total"] for each in before["orders"]] == ["60.02", "2469195.62"]
    stored = schema(old, store)

    result = update(Update(path=folder, to="HEAD", lock=False), template_source=source)

    assert result.conflicts == ()
    assert "amounts" not in result.absent
    assert yaml.safe_load((folder / ANSWERS_FILE).read_text())["amounts"] == "cents"
    commit(folder)
    updated = project_of(folder, variant)
    # It has removed settings, which "before you deploy" names.
    (folder / ".env").unlink(missing_ok=True)
    migrated = updated.run("-m", "shop.migrate", settings={"DATABASE_URL": store.url, "DATABASE_PASSWORD": ""})
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    assert "Run python -m shop migrate." in migrated.stderr
    run(updated, store, "-m", "alembic", "check")
    assert schema(updated, store) == stored
    with serving(updated, store) as service:
        assert seen(service) == before
        order(service, "A-3", [("TEA", 10, "12.34")])
        after = seen(service)
    assert after["orders"][0]["total"] == "123.40"
    assert [line.split(",")[5] for line in after["export"].splitlines()[1:]] == ["123.40", "60.02", "2469195.62"]

    empty = make_store()
    run(updated, empty, "-m", "shop", "migrate")
    assert schema(updated, empty) == stored
    # The migrations of 0.3.4 are the ones that ran.
    assert "types.Money()" in (folder / "migrations" / "versions" / "0001_orders.py").read_text()

    fresh = tmp_path / "fresh"
    new(Request(path=fresh, ref="HEAD", data=answers | PARTS, lock=False), template_source=source)
    made, empty = project_of(fresh, variant), make_store()
    run(made, empty, "-m", "shop", "migrate")
    run(made, empty, "-m", "alembic", "check")
    found = schema(made, empty)
    price = found["order_lines"]["columns"].pop("unit_price")
    assert stored["order_lines"]["columns"].pop("unit_price").startswith("BIGINT(")
    assert ("BIGINT(" if variant.database == "sqlite" else "(precision=12, scale=2)") in price
    assert found == stored


@pytest.mark.parametrize("given", [{}, {"docker": False, "error_format": "problem"}], ids=["nothing", "answers"])
def test_plain_copier_keeps_stored_amounts(given: dict[str, Any], tmp_path: Path, author: None) -> None:
    """A Copier update keeps cents and stays with them, and a new service has numeric amounts."""
    service, head = tmp_path / "service", git.run("rev-parse", "HEAD", cwd=REPOSITORY)
    options: dict[str, Any] = {"defaults": True, "quiet": True, "settings": copier.Settings()}
    first = Source(REPOSITORY).releases()[BEFORE]
    url = f"git+{REPOSITORY.as_uri()}"
    copier.run_copy(url, service, {"database": "postgresql"}, vcs_ref=first, **options)
    git.run("init", "--quiet", cwd=service)
    commit(service)

    for _ in range(2):
        copier.run_update(service, given, vcs_ref=head, overwrite=True, **options)
        commit(service)
        assert yaml.safe_load((service / ANSWERS_FILE).read_text())["amounts"] == "cents"
        assert "Money" in (service / "app/core/db/columns.py").read_text()
        assert (service / "app/core/types.py").exists()

    fresh = tmp_path / "fresh"
    copier.run_copy(url, fresh, {"database": "postgresql"}, vcs_ref=head, **options)
    assert yaml.safe_load((fresh / ANSWERS_FILE).read_text())["amounts"] == "numeric"
    assert "Numeric(12, 2)" in (fresh / "app/core/db/columns.py").read_text()
    assert not (fresh / "app/core/types.py").exists()


@pytest.mark.parametrize("database", ["none", "sqlite"])
def test_old_commands_stay(database: str, tmp_path: Path, author: None) -> None:
    """An older service keeps the old forms of its commands; a new service has none."""
    source, answers = Source(REPOSITORY), {"package_name": "shop", "database": database}
    folder, fresh = tmp_path / "service", tmp_path / "fresh"
    new(Request(path=folder, ref=BEFORE, data=answers, lock=False), template_source=source)
    update(Update(path=folder, to="HEAD", lock=False), template_source=source)
    new(Request(path=fresh, ref="HEAD", data=answers, lock=False), template_source=source)
    names = {"check.py", "dotenv.py", "old_commands.py"}
    names |= {"migrate.py", "create_admin.py"} if database != "none" else set()
    assert {path.name for path in (folder / "shop").glob("*.py")} >= names
    assert not {path.name for path in (fresh / "shop").glob("*.py")} & names
