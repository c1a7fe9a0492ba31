"""What an order costs in another currency, with rates from a local server."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import stamina
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.clients.exchange_rates import ExchangeRates
from app.core.http.client import HttpClient
from app.orders.exchange import get_exchange_rates
from app.settings import Settings
from tests.test_orders import ORDERS, create

from .upstream import HANG_UP, Upstream, answer, open_upstream


@pytest.fixture
async def upstream(app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    """Return the service that knows the rates, for the time of a test."""
    monkeypatch.setenv("NO_PROXY", "*")
    async with open_upstream() as upstream, HttpClient(settings) as http_client:
        rates = ExchangeRates(http_client, f"{upstream.url}/v1/")
        monkeypatch.setitem(app.dependency_overrides, get_exchange_rates, lambda: rates)
        upstream.answers = [answer(200, {"base": "USD", "rates": {"EUR": 0.85}})]
        with stamina.set_testing(True, attempts=10, cap=True):
            yield upstream


async def test_total_in_another_currency(client: AsyncClient, upstream: Upstream) -> None:
    """The total is exact to the cent, and the response has the rate."""
    order = await create(client)
    response = await client.get(f"{ORDERS}/{order['id']}/total", params={"currency": "EUR"})
    assert response.status_code == 200
    # 15.30 USD at 0.85 are 13.005.
    assert response.json() == {"currency": "EUR", "rate": "0.85", "total": "13.01"}
    [request] = upstream.received
    assert request.target == "/v1/latest?base=USD"
    assert request.headers["x-request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("currency", ["XYZ", "eur", ""])
async def test_unknown_currency_is_refused(client: AsyncClient, upstream: Upstream, currency: str) -> None:
    """A currency that there is no rate for is the client's mistake."""
    order = await create(client)
    response = await client.get(f"{ORDERS}/{order['id']}/total", params={"currency": currency})
    assert response.status_code == 422


async def test_unknown_order_is_not_found(client: AsyncClient, upstream: Upstream) -> None:
    """No other service is asked about an order that does not exist."""
    response = await client.get(f"{ORDERS}/{uuid4()}/total", params={"currency": "EUR"})
    assert response.status_code == 404
    assert upstream.received == []


@pytest.mark.parametrize(
    "trouble",
    [
        HANG_UP,
        answer(404),
        answer(500),
        answer(503),
        answer(200, b"<html>"),
        answer(200, {"rates": None}),
        answer(200, {"rates": {"EUR": -1}}),
        answer(200, b'{"rates": {"EUR": NaN}}'),
        answer(200, b"not zipped", Content_Encoding="gzip"),
    ],
    ids=["hang-up", "404", "500", "503", "html", "no-rates", "negative", "nan", "not-zipped"],
)
async def test_failing_service_makes_it_unavailable(client: AsyncClient, upstream: Upstream, trouble: bytes) -> None:
    """Each failure of the other service is a 503 response without internal details."""
    order = await create(client)
    upstream.answers = [trouble]
    response = await client.get(f"{ORDERS}/{order['id']}/total", params={"currency": "EUR"})
    assert response.status_code == 503
    assert "unavailable" in response.text
    assert "127.0.0.1" not in response.text


async def test_rates_are_asked_for_users_alone(
    anonymous: AsyncClient, client: AsyncClient, admin: AsyncClient, upstream: Upstream
) -> None:
    """Who is not signed in, or may not sign in any more, sets nothing in motion."""
    me = (await client.get("/api/v1/users/me")).json()
    await admin.patch(f"/api/v1/users/{me['id']}", json={"disabled": True})
    for stranger in (anonymous, client):
        response = await stranger.get(f"{ORDERS}/{uuid4()}/total", params={"currency": "EUR"})
        assert response.status_code == 401
    assert upstream.received == []
