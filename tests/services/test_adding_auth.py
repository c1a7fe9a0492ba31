"""Authentication is added to a service with orders and removed again, with the printed commands."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.templates.source import Source
from tests.questions import REPOSITORY
from tests.services.owned import Owned, store_of
from tests.services.running import Service, Variant, order
from tests.services.servers import Kind, Server

pytestmark = pytest.mark.ci

VARIANTS = (
    Variant("feature", "sqlite", "envelope"),
    Variant("layered", "postgresql", "problem"),
    Variant("feature", "mysql", "envelope"),
)
PASSWORD = "correct horse battery"
ORDERS = "/api/v1/orders"


@pytest.fixture(params=[VARIANTS[0], *(pytest.param(each, marks=pytest.mark.full) for each in VARIANTS[1:])], ids=str)
def owned(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    author: None,
) -> Iterator[Owned]:
    """A service without users, with its own migration and with orders."""
    variant: Variant = request.param
    with ExitStack() as stack:
        store = store_of(variant.database, tmp_path, server_of, missing_server, stack)
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
    """Yield a signed-in client."""
    with httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client:
        answer = client.post("/api/v1/auth/token", data={"username": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def test_add_and_remove(owned: Owned) -> None:
    """After the printed migration all orders are there, and the service's tests pass."""
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
