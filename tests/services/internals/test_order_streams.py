"""Events and exports of orders, through HTTP."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from starlette.types import Message, Scope

from app.core.auth.tokens import AccessTokens
from app.core.db.database import Database
from app.core.errors import UnavailableError
from app.settings import Settings
from app.users.models import Role
from tests.clients import SignIn
from tests.conftest import State, serve
from tests.test_orders import ORDERS, create

Listen = Callable[..., AbstractAsyncContextManager["Listener"]]


class Listener:
    """A client that reads events as they come; the usual one would wait for their end."""

    def __init__(self) -> None:
        self.head: Message = {}
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._left = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Take what the application sends."""
        if message["type"] == "http.response.start":
            self.head = message
        else:
            self._chunks.put_nowait(message["body"])

    async def receive(self) -> Message:
        """Send a disconnect to the application when the client leaves."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def hear(self) -> dict[str, str]:
        """Return the fields of the next message."""
        chunk = await asyncio.wait_for(self._chunks.get(), timeout=5)
        return dict(line.split(": ", 1) for line in chunk.decode().splitlines() if line)


@pytest.fixture
def listen(app: FastAPI, resources: State) -> Listen:
    """Return a function that listens to the events until the end of a block."""
    served = serve(app, resources)

    @asynccontextmanager
    async def listen(client: AsyncClient, **headers: str) -> AsyncIterator[Listener]:
        request = client.build_request("GET", f"{ORDERS}/events", headers=headers)
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": request.url.path,
            "query_string": b"",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": None,
        }
        listener = Listener()
        serving = asyncio.ensure_future(served(scope, listener.receive, listener.send))
        try:
            yield listener
        finally:
            listener.leave()
            await asyncio.wait_for(serving, timeout=5)

    return listen


async def test_every_change_is_told(client: AsyncClient, listen: Listen) -> None:
    """Each change of an order is an event with the order as it is then. A failure is no event."""
    async with listen(client) as listener:
        ids = [(await listener.hear())["id"]]
        order = await create(client)
        url = f"{ORDERS}/{order['id']}"
        assert (await client.post(ORDERS, json=order)).status_code == 422
        changed = (await client.patch(url, json={"customer": "John"})).json()
        assert (await client.patch(url, json={"status": "shipped"})).status_code == 409
        await client.delete(url)
        expected = {"order.created": order, "order.updated": changed, "order.deleted": changed}
        for name, data in expected.items():
            event = await listener.hear()
            assert (event["event"], json.loads(event["data"])) == (name, data)
            ids.append(event["id"])
    assert len(set(ids)) == len(ids)


async def test_nothing_on_the_way_keeps_events(client: AsyncClient, listen: Listen) -> None:
    """Neither caches nor proxies may hold them back."""
    async with listen(client) as listener:
        await listener.hear()
        headers = dict(listener.head["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-accel-buffering"] == b"no"


async def test_client_that_comes_back_misses_nothing(client: AsyncClient, listen: Listen) -> None:
    """A client that returns gets the events in between, or `missed` if they are not in the buffer."""
    async with listen(client) as listener:
        last_id = (await listener.hear())["id"]
    orders = [await create(client, reference=f"A-{number}") for number in range(3)]
    async with listen(client, **{"Last-Event-ID": last_id}) as listener:
        await listener.hear()
        received = [json.loads((await listener.hear())["data"])["id"] for _ in orders]
    assert received == [order["id"] for order in orders]
    ours, _, number = last_id.rpartition("-")
    for unknown in ["elsewhere-1", "e" * 100, f"{ours}-{int(number) + 4}", f"{ours}-{'9' * 5000}"]:
        async with listen(client, **{"Last-Event-ID": unknown}) as listener:
            await listener.hear()
            assert (await listener.hear())["event"] == "missed"


async def export(client: AsyncClient, **params: Any) -> list[dict[str, str]]:
    """Return the rows of an export."""
    response = await client.get(f"{ORDERS}/export", params=params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    return list(csv.DictReader(response.text.splitlines()))


async def test_export_has_every_order(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders come newest first, however many at once are read."""
    assert await export(client) == []
    orders = [await create(client, reference=f"A-{number}", note="Ä") for number in range(3)]
    monkeypatch.setattr("app.orders.export.BATCH_SIZE", 2)
    rows = await export(client)
    fields = ["id", "reference", "customer", "note", "status", "total", "created_at"]
    expected = [[order[name] for name in fields] for order in reversed(orders)]
    assert [list(row.values()) for row in rows] == expected
    assert list(rows[0]) == fields


async def test_export_is_filtered(client: AsyncClient) -> None:
    """An export takes the criteria of the list."""
    orders = [await create(client, reference=f"A-{number}") for number in range(2)]
    await client.patch(f"{ORDERS}/{orders[0]['id']}", json={"status": "confirmed"})
    assert [row["id"] for row in await export(client, status="confirmed")] == [orders[0]["id"]]
    assert (await client.get(f"{ORDERS}/export?status=lost")).status_code == 422


async def test_export_runs_nothing(client: AsyncClient) -> None:
    """What a customer has written is no formula in the spreadsheet of the one who opens it."""
    await create(client, customer='=HYPERLINK("https://a.example")', note="@SUM(1)")
    [row] = await export(client)
    assert (row["customer"], row["note"]) == ('\'=HYPERLINK("https://a.example")', "'@SUM(1)")


async def test_export_without_database(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that cannot start is an error response."""

    def refuse(_database: Database, **_options: object) -> NoReturn:
        raise UnavailableError("Come back at noon.")

    monkeypatch.setattr(Database, "session", refuse)
    response = await client.get(f"{ORDERS}/export")
    assert response.status_code == 503
    assert "Come back at noon." in response.text


async def test_streams_are_for_users(anonymous: AsyncClient) -> None:
    """Who is not signed in hears nothing and gets nothing."""
    for name in ["events", "export"]:
        assert (await anonymous.get(f"{ORDERS}/{name}")).status_code == 401


async def test_users_hear_of_their_own_orders(
    client: AsyncClient, admin: AsyncClient, sign_in: SignIn, listen: Listen
) -> None:
    """Users get events and exports of their own orders only, and admins those of all orders."""
    other = await sign_in(Role.USER)
    async with listen(client) as own:
        await own.hear()
        async with listen(admin) as everything:
            await everything.hear()
            foreign = await create(other, reference="B-1")
            order = await create(client)
            assert json.loads((await own.hear())["data"]) == order
            assert json.loads((await everything.hear())["data"]) == foreign
            assert json.loads((await everything.hear())["data"]) == order
    assert [row["id"] for row in await export(client)] == [order["id"]]
    assert [row["id"] for row in await export(admin)] == [order["id"], foreign["id"]]


async def test_events_end_with_the_token(client: AsyncClient, resources: State, settings: Settings) -> None:
    """A stream does not outlast the access token that opened it."""
    claims = resources["tokens"].read(client.headers["Authorization"].removeprefix("Bearer "))
    brief = AccessTokens(settings.model_copy(update={"access_token_seconds": 1}))
    token = brief.issue(claims.user_id, claims.version)
    headers = {"Authorization": f"Bearer {token}"}
    response = await asyncio.wait_for(client.get(f"{ORDERS}/events", headers=headers), timeout=5)
    assert response.status_code == 200
    assert (await client.get(f"{ORDERS}/events", headers=headers)).status_code == 401
