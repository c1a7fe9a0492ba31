"""A service on SQLite moves to a server with the printed commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.templates.source import Source
from tests.questions import REPOSITORY
from tests.services.owned import Owned
from tests.services.running import FileStore, ServerStore, Variant
from tests.services.servers import Kind, MissingServerError, Server

pytestmark = pytest.mark.ci


@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mysql", marks=pytest.mark.full)])
def test_sqlite_to_a_server(
    kind: Kind,
    tmp_path: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    author: None,
) -> None:
    """The new migrations contain only types of the new database, the service's tests pass, and it runs."""
    try:
        server = server_of(kind)
    except MissingServerError as error:
        missing_server(str(error))
    folder, source = tmp_path / "service", Source(REPOSITORY)
    answers = {"project_name": "Shop", "package_name": "shop", "auth": "none", "rate_limit": "none"}
    new(Request(path=folder, ref="HEAD", data=answers, lock=False), template_source=source)
    (tmp_path / "tools").mkdir()
    owned = Owned(folder, tmp_path / "tools", FileStore(tmp_path / "shop.db"), Variant("feature", "sqlite", "envelope"))
    owned.replace(
        "shop/orders/models.py", "customer: Mapped[str] = mapped_column(String(200))",
        "customer: Mapped[str] = mapped_column(String(200), index=True)",
    )  # fmt: skip
    owned.sh("uv run python -m shop migrate")
    owned.sh('uv run alembic revision --autogenerate -m "find customers"')
    owned.commit()

    added = components.add(folder, [f"database={kind}"], lock=False, template_source=source)

    with server.database() as name:
        moved = Owned(folder, tmp_path / "tools", ServerStore(server, name), Variant("feature", kind, "envelope"))
        moved.follow(added, "tests/test_database.py", "tests/test_orders.py")
        [migration] = (folder / "migrations" / "versions").glob("*.py")
        written = migration.read_text()
        assert 'sa.Column("unit_price", sa.Numeric(precision=12, scale=2), nullable=False)' in written
        assert '"ix_orders_customer"' in written
        assert "sa.DateTime()" not in written
        moved.sh("uv run alembic check")
        with moved.project.start(moved.settings, module="shop") as service:
            assert service.create_order("A-1").status_code == 201
            assert service.references() == {"A-1"}
