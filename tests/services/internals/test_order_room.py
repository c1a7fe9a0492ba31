"""The room of an order."""

import json
import re
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from starlette.types import ASGIApp

from tests.conftest import State, serve

from .peers import open_socket

ORDERS = "/api/v1/orders"


@pytest.fixture
def served(app: FastAPI, resources: State) -> ASGIApp:
    """Return the application as the client sees it."""
    return serve(app, resources)


def identity(client: AsyncClient) -> dict[str, str]:
    """Return the header by which the service knows a client's user."""
    return {"authorization": client.headers["authorization"]}


async def new_room(client: AsyncClient, reference: str) -> str:
    """Create an order and return the address of its room."""
    line = {"sku": "PEN", "quantity": 1, "unit_price": "1.00"}
    order = {"reference": reference, "customer": "Jane Doe", "lines": [line]}
    response = await client.post(ORDERS, json=order)
    assert response.status_code == 201, response.text
    return f"{ORDERS}/{response.json()['id']}/room"


async def test_everybody_in_the_room_hears_a_remark(client: AsyncClient, served: ASGIApp) -> None:
    """A remark reaches the peers in the room of its order, and no other peer."""
    room, other_room = await new_room(client, "A-1"), await new_room(client, "A-2")
    async with (
        open_socket(served, room, headers=identity(client)) as jane,
        open_socket(served, room, headers=identity(client)) as john,
        open_socket(served, other_room, headers=identity(client)) as stranger,
    ):
        jane.say('{"text": "Is it packed?"}')
        heard = await john.hears()
        assert json.loads(heard)["text"] == "Is it packed?"
        assert json.loads(heard)["author"].endswith("@example.com")
        assert re.search(r":\d\d\.\d{3}Z$", json.loads(heard)["sent_at"])
        assert await jane.hears() == heard
        stranger.say('{"text": "Hello?"}')
        assert json.loads(await stranger.hears())["text"] == "Hello?"


@pytest.mark.parametrize("message", ["hello", "{}", '{"text": ""}', '{"text": 1}'])
async def test_invalid_remark_is_answered(client: AsyncClient, served: ASGIApp, message: str) -> None:
    """Only the sender gets the error, and can continue."""
    room = await new_room(client, "A-1")
    async with (
        open_socket(served, room, headers=identity(client)) as jane,
        open_socket(served, room, headers=identity(client)) as john,
    ):
        jane.say(message)
        assert '"code":"validation_error"' in await jane.hears()
        jane.say('{"text": "Sorry."}')
        assert json.loads(await john.hears())["text"] == "Sorry."


async def test_missing_order_has_no_room(client: AsyncClient, served: ASGIApp) -> None:
    """The handshake is refused."""
    room = f"{ORDERS}/{uuid4()}/room"
    async with open_socket(served, room, headers=identity(client)) as peer:
        status, body = await peer.refusal()
    assert status == 404
    assert '"code":"not_found"' in body


@pytest.mark.parametrize(
    ("headers", "protocols"),
    [
        ({}, []),
        ({}, ["bearer"]),
        ({}, ["bearer", "wrong"]),
        ({"authorization": "Bearer wrong"}, []),
        ({"authorization": "Basic wrong"}, []),
        ({"authorization": "Bearer"}, ["bearer", "wrong"]),
        ({}, ["Bearer", "right"]),
    ],
)
async def test_without_a_token_nobody_enters(
    client: AsyncClient, served: ASGIApp, headers: dict[str, str], protocols: list[str]
) -> None:
    """The handshake is refused, and says how to sign in."""
    room = await new_room(client, "A-1")
    right = client.headers["authorization"].removeprefix("Bearer ")
    protocols = [right if protocol == "right" else protocol for protocol in protocols]
    async with open_socket(served, room, headers=headers, protocols=protocols) as peer:
        assert dict(peer.answer["headers"])[b"www-authenticate"] == b"Bearer"
        status, body = await peer.refusal()
    assert status == 401
    assert '"code":"not_authenticated"' in body
