"""The service's own tests, as its owner runs them in CI: in random order, in parallel and on a shared server."""

from collections.abc import Callable

import pytest

from tests.services.behaviour.variants import with_database
from tests.services.running import Project, ServerStore, Variant
from tests.services.servers import Kind, PrivateServer


def databases(server: PrivateServer) -> set[str]:
    """Return the names of all databases on a server."""
    if server.kind == "postgresql":
        names = server.scalar("SELECT string_agg(datname, ',') FROM pg_database")
    else:
        names = server.scalar("SELECT group_concat(schema_name) FROM information_schema.schemata")
    return set(str(names).split(","))


@with_database
def test_any_order_in_parallel(
    project: Project, variant: Variant, private_server_of: Callable[[Kind], PrivateServer]
) -> None:
    """The tests pass in random order in two processes and leave every other database unchanged."""
    if variant.database in {"postgresql", "mysql"}:
        private = private_server_of(variant.database)
        with private.database() as name:
            tenant = ServerStore(private, name)
            project.migrate(tenant)
            before = databases(private)
            run_tests(project, {"TEST_DATABASE_URL": tenant.url, "DATABASE_URL": tenant.url})
            assert databases(private) == before
            assert tenant.scalar("SELECT count(*) FROM orders") == 0
            assert tenant.scalar("SELECT count(*) FROM alembic_version") == 1
    else:
        files = {path.name for path in project.folder.iterdir()}
        run_tests(project, {})
        left = {path.name for path in project.folder.iterdir()} - files
        assert left <= {".pytest_cache", "__pycache__"}


def run_tests(project: Project, settings: dict[str, str]) -> None:
    """Run the tests in an order of this variant, so that each database has two orders."""
    seed = "1" if project.variant.layout == "feature" else "2"
    finished = project.run("-m", "pytest", "-q", "-n", "2", f"--randomly-seed={seed}", settings=settings)
    if finished.returncode:
        pytest.fail(finished.stdout + finished.stderr, pytrace=False)
