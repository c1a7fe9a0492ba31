"""Several processes on one database, and several applications in one process."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services.behaviour.variants import everywhere, with_database
from tests.services.running import PACKAGE, FileStore, Project, ServerStore, Store, Variant, order
from tests.services.servers import Kind, Server


@pytest.fixture
def empty_store(variant: Variant, found_server: Callable[[Kind], Server], tmp_path: Path) -> Iterator[Store]:
    """Return a database without tables."""
    if variant.database in {"postgresql", "mysql"}:
        server = found_server(variant.database)
        with server.database() as name:
            yield ServerStore(server, name)
    else:
        yield FileStore(tmp_path / "data.db")


@with_database
def test_replicas_migrate_at_once(project: Project, empty_store: Store) -> None:
    """Of several replicas that migrate at the same time one migrates, and the others wait."""
    settings = {"DATABASE_URL": empty_store.url}
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(project.run, "-m", PACKAGE, "migrate", settings=settings) for _ in range(4)]
        finished = [run.result() for run in runs]
    assert [run.returncode for run in finished] == [0] * 4, [run.stderr for run in finished]
    lines = [line for run in finished for line in run.stdout.splitlines()]
    assert all("event" in json.loads(line) for line in lines)
    assert sum("Running upgrade" in line for line in lines) == 1
    assert empty_store.scalar("SELECT count(*) FROM alembic_version") == 1
    assert empty_store.scalar("SELECT count(*) FROM orders") == 0

    again = project.run("-m", PACKAGE, "migrate", settings=settings)
    assert again.returncode == 0
    assert "Running upgrade" not in again.stdout
    check = project.run("-m", "alembic", "check", settings=settings)
    assert check.returncode == 0, check.stdout + check.stderr
    back = project.run("-m", "alembic", "downgrade", "base", settings=settings)
    assert back.returncode == 0, back.stdout + back.stderr
    assert empty_store.scalar("SELECT count(*) FROM alembic_version") == 0


@with_database
def test_migration_without_database(project: Project, variant: Variant) -> None:
    """A migration without a reachable database fails with one line and no traceback."""
    urls = {
        "sqlite": "sqlite+aiosqlite:////nowhere/data.db",
        "postgresql": "postgresql+asyncpg://app:p4ssw0rd@127.0.0.1:9/app",
        "mysql": "mysql+asyncmy://app:p4ssw0rd@127.0.0.1:9/app",
    }
    finished = project.run("-m", PACKAGE, "migrate", settings={"DATABASE_URL": urls[variant.database]})
    assert finished.returncode != 0
    assert "Traceback" not in finished.stdout + finished.stderr
    assert "p4ssw0rd" not in finished.stdout + finished.stderr


@everywhere
def test_two_applications_in_one_process(
    project: Project, variant: Variant, new_store: Callable[[Variant, ExitStack], Store]
) -> None:
    """Applications with different settings share no database, limits, keys or routes."""
    with ExitStack() as stack:
        stores = [new_store(variant, stack), new_store(variant, stack)]
        databases = [{"database_url": store.url} if store.url else {} for store in stores]
        one = databases[0] | {"secret_key": "1" * 32, "docs_enabled": False, "max_body_bytes": 1000}
        two = databases[1] | {"secret_key": "2" * 32, "cors_origins": ["https://one.example"]}
        finished = project.run(
            str(Path(__file__).with_name("two_apps.py")),
            PACKAGE,
            json.dumps([one, two]),
            json.dumps(order("A-1")),
        )
        assert finished.returncode == 0, finished.stderr
        first, second = json.loads(finished.stdout.splitlines()[-1])
    # The same reference in both applications, which do not share orders.
    shared = {"created": 201, "ready": 200, "total": 1, "cursor_accepted": []}
    assert first == shared | {"large": 413, "docs": 404, "cors": False}
    assert second == shared | {"large": 422, "docs": 200, "cors": True}
