"""Orders, through HTTP."""

from typing import Any

import pytest
from httpx2 import AsyncClient

ORDERS = "/api/v1/orders"


def body(**changes: Any) -> dict[str, Any]:
    """Return a valid new order, with changes."""
    return {
        "reference": "A-1",
        "customer": "Jane Doe",
        "lines": [
            {"sku": "PEN", "quantity": 3, "unit_price": "1.10"},
            {"sku": "INK", "quantity": 1, "unit_price": "12.00"},
        ],
    } | changes


async def create(client: AsyncClient, **changes: Any) -> dict[str, Any]:
    """Create an order and return it."""
    response = await client.post(ORDERS, json=body(**changes))
    assert response.status_code == 201, response.text
    order: dict[str, Any] = response.json()
    return order


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": ""},
        {"reference": "no spaces"},
        {"customer": " "},
        {"customer": "nul\x00byte"},
        {"lines": []},
        {"lines": [{"sku": "PEN", "quantity": 0, "unit_price": "1"}]},
        {"lines": [{"sku": "PEN", "quantity": True, "unit_price": "1"}]},
        {"lines": [{"sku": "PEN", "quantity": 1, "unit_price": "0.001"}]},
        {"lines": [{"sku": "PEN", "quantity": 1, "unit_price": "NaN"}]},
        {"lines": [{"sku": "PEN", "quantity": 1, "unit_price": "9.99\n"}]},
        {"lines": [{"sku": "PEN", "quantity": 1, "unit_price": 9.99}]},
        {"colour": "red"},
    ],
)
async def test_invalid_order_is_refused(client: AsyncClient, changes: dict[str, Any]) -> None:
    """What makes no sense is not stored."""
    assert (await client.post(ORDERS, json=body(**changes))).status_code == 422
    assert (await client.get(ORDERS)).json()["total"] == 0


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
async def test_time_outside_the_calendar_is_refused(client: AsyncClient, time: str) -> None:
    """A time that its time zone takes out of the calendar is the client's error, and no crash."""
    for name in ["created_from", "created_to"]:
        assert (await client.get(ORDERS, params={name: time})).status_code == 422
