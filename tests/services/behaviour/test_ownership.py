"""Changes of an owner: a new model, a violated contract, and tests without a server."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services.behaviour.variants import everywhere, where, with_database, with_server
from tests.services.environments import cache_folder
from tests.services.running import PACKAGE, Project, Service, Store, Variant, new_reference

ADDRESSES = {
    "feature": {"models": "orders/models.py", "router": "orders/router.py", "service": "orders/service.py"},
    "layered": {"models": "models/orders.py", "router": "routers/orders.py", "service": "services/orders.py"},
}
INVOICE = '''

class Invoice(Record, Base):
    """An amount that a customer owes."""

    __tablename__ = "invoices"

    number: Mapped[str] = mapped_column(exact_text(20), unique=True)
    amount: Mapped[Amount]
'''
# The types of amount, number and times in its migration, and the modules that it imports names from.
COLUMNS = {
    "sqlite": ("sa.BigInteger()", "sa.String(length=20)", "sa.DateTime()"),
    "postgresql": ("sa.Numeric(precision=12, scale=2)", "sa.String(length=20)", "sa.DateTime(timezone=True)"),
    "mysql": (
        "sa.Numeric(precision=12, scale=2)",
        'mysql.VARCHAR(collation="utf8mb4_bin", length=20)',
        "mysql.DATETIME(fsp=6)",
    ),
}
MODULES = {"sqlite": ["alembic"], "postgresql": ["alembic"], "mysql": ["alembic", "sqlalchemy.dialects"]}


@pytest.fixture
def own_project(project: Project, tmp_path: Path) -> Project:
    """Return a copy of the service under test, which a test may change."""
    folder = tmp_path / "service"
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
    return Project(folder, project.python, project.variant)


@with_database
def test_model_gets_its_migration(own_project: Project, own_store: Store, variant: Variant) -> None:
    """A new model gets a formatted migration, and linter, types and tests pass."""
    models = own_project.folder / PACKAGE / ADDRESSES[variant.layout]["models"]
    models.write_text(models.read_text() + INVOICE)
    settings = {"DATABASE_URL": own_store.url}
    made = own_project.run("-m", "alembic", "revision", "--autogenerate", "-m", "invoices", settings=settings)
    assert made.returncode == 0, made.stdout + made.stderr
    [migration] = (own_project.folder / "migrations" / "versions").glob("*invoices.py")
    written = migration.read_text()
    amount, number, time = COLUMNS[variant.database]
    assert f'sa.Column("amount", {amount}, nullable=False)' in written
    assert f'sa.Column("number", {number}, nullable=False)' in written
    assert f'sa.Column("created_at", {time}, nullable=False)' in written
    assert re.findall(r"^from (\S+) import", written, re.MULTILINE) == MODULES[variant.database]

    own_project.migrate(own_store)

    assert own_store.scalar("SELECT count(*) FROM invoices") == 0
    known = str(cache_folder() / f"mypy-{PACKAGE}")
    for check in (("ruff", "format", "--check"), ("ruff", "check"), ("mypy",)):
        # The probe of these tests is not part of the service.
        paths = (PACKAGE, "migrations")
        finished = own_project.run("-m", *check, *paths, settings={"PYTHONPATH": "", "MYPY_CACHE_DIR": known})
        assert finished.returncode == 0, finished.stdout + finished.stderr
    server = {} if variant.database == "sqlite" else {"TEST_DATABASE_URL": own_store.url}
    tests = own_project.run("-m", "pytest", "-q", "tests/test_database.py", settings={"PYTHONPATH": "", **server})
    assert tests.returncode == 0, tests.stdout + tests.stderr


@everywhere
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core/errors.py", "import {package}.{models}"),
        ("router", "import {package}.{models}"),
        ("service", "import fastapi"),
    ],
)
def test_forbidden_import_is_found(own_project: Project, variant: Variant, module: str, line: str) -> None:
    """A forbidden import between layers breaks a contract in either layout."""
    addresses = ADDRESSES[variant.layout]
    path = own_project.folder / PACKAGE / addresses.get(module, module)
    models = addresses["models"].removesuffix(".py").replace("/", ".")
    path.write_text(path.read_text() + "\n" + line.format(package=PACKAGE, models=models) + "\n")

    finished = own_project.run("-c", "from importlinter.cli import lint_imports_command as run; run()")

    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "BROKEN" in finished.stdout


@with_server
def test_no_server_for_the_tests(project: Project) -> None:
    """Without a server and without Docker the service's tests stop at once with a solution in one line."""
    settings = {"DOCKER_HOST": "tcp://127.0.0.1:9", "PYTHONPATH": ""}
    finished = project.run("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", settings=settings)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stdout + finished.stderr
    [line] = [line for line in (finished.stdout + finished.stderr).splitlines() if "TEST_DATABASE_URL" in line]
    assert "start Docker" in line


@where(lambda variant: variant.database != "none" and variant.layout == "feature")
def test_change_races_deletion(service: Service) -> None:
    """Changes at the same time as a deletion return 200 or 404, and the order is deleted."""
    for _ in range(20):
        created = service.create_order(new_reference())
        path = f"/api/v1/orders/{created.json()['id']}"
        with ThreadPoolExecutor(4) as threads:
            changes = [threads.submit(service.request, "PATCH", path, json={"note": str(n)}) for n in range(3)]
            deletion = threads.submit(service.request, "DELETE", path)
        assert deletion.result().status_code == 204
        assert {change.result().status_code for change in changes} <= {200, 404}
        assert service.request("GET", path).status_code == 404
