"""The summary of orders: kept until an order changes."""

import pytest
from httpx2 import AsyncClient

from app.orders.schemas import OrderFilter
from app.orders.service import OrderService
from app.users.models import Role
from tests.clients import SignIn
from tests.test_orders import ORDERS, body, create

NOTHING = dict.fromkeys(["draft", "confirmed", "shipped", "cancelled"], 0)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[OrderFilter]:
    """Return a list that grows whenever orders are counted."""
    done: list[OrderFilter] = []
    count = OrderService.count

    async def note(self: OrderService, criteria: OrderFilter) -> int:
        done.append(criteria)
        return await count(self, criteria)

    monkeypatch.setattr(OrderService, "count", note)
    return done


async def summary(client: AsyncClient) -> dict[str, int]:
    """Return the number of orders by status."""
    response = await client.get(f"{ORDERS}/summary")
    assert response.status_code == 200
    counts: dict[str, int] = response.json()
    return counts


async def test_summary_is_kept(client: AsyncClient, counts: list[OrderFilter]) -> None:
    """Orders are counted again after a change, and not after one that fails."""
    await create(client)
    assert (await summary(client))["draft"] == 1
    assert (await client.post(ORDERS, json=body())).status_code == 409
    assert (await summary(client))["draft"] == 1
    assert len(counts) == len(NOTHING)


async def test_summary_is_of_one_s_own_orders(
    client: AsyncClient, sign_in: SignIn, admin: AsyncClient, anonymous: AsyncClient
) -> None:
    """Users get the summary of their own orders, and admins that of all."""
    other = await sign_in(Role.USER)
    await create(client)
    for _ in range(2):
        assert (await summary(client))["draft"] == 1
        assert (await summary(other))["draft"] == 0
        assert (await summary(admin))["draft"] == 1
    await create(other, reference="A-2")
    assert (await summary(other))["draft"] == 1
    assert (await summary(admin))["draft"] == 2
    assert (await anonymous.get(f"{ORDERS}/summary")).status_code == 401
