"""Clients of a service's WebSockets, from one to several thousand."""

import asyncio
import contextlib
import json
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services.running import PATIENCE_SECONDS, Service, new_reference

AT_ONCE = 50


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Allow this process and its child processes as many connections as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def sign_in(service: Service, email: str, password: str) -> str:
    """Create a user if there is none, sign the service's client in as that user, and return the access token."""
    service.request("POST", "/api/v1/auth/register", json={"email": email, "password": password})
    answer = service.request("POST", "/api/v1/auth/token", data={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    service.client.headers["Authorization"] = f"Bearer {token}"
    return token


def new_room(service: Service) -> str:
    """Create an order and return the path of its room."""
    response = service.create_order(new_reference())
    assert response.status_code == 201, response.text
    return f"/api/v1/orders/{response.json()['id']}/room"


def enter(service: Service, path: str, **options: Any) -> connect:
    """Return a connection to open, as a block or with `await`."""
    url = f"ws://127.0.0.1:{service.port}{path}"
    return connect(url, ping_interval=None, open_timeout=PATIENCE_SECONDS, proxy=None, **options)


async def refusal(service: Service, path: str, **options: Any) -> httpx2.Response:
    """Return the service's response to a refused connection."""
    try:
        async with enter(service, path, **options):
            raise AssertionError("the service accepts the connection")
    except InvalidStatus as error:
        response = error.response
        return httpx2.Response(
            response.status_code, headers=list(response.headers.raw_items()), content=bytes(response.body)
        )


@contextlib.asynccontextmanager
async def crowd(service: Service, paths: Sequence[str]) -> AsyncIterator[list[ClientConnection]]:
    """Open a connection to each path, several at a time, and close all at the end of the block."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(path: str) -> ClientConnection:
        async with at_once:
            return await enter(service, path)

    connections = await asyncio.gather(*map(one, paths))
    try:
        yield connections
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


def remark(text: str) -> str:
    """Return a message in the format of a client."""
    return json.dumps({"text": text})


async def hear(connection: ClientConnection) -> str:
    """Return the text of the next message."""
    text: str = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE_SECONDS))["text"]
    return text


async def close_code(connection: ClientConnection) -> int | None:
    """Return the close code of the service's end of the connection. Messages before it are ignored."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await connection.recv()
    return connection.close_code


def break_off(connection: ClientConnection) -> None:
    """Reset the connection without a closing handshake."""
    end: socket.socket = connection.transport.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def alive(service: Service, kind: str) -> tuple[int, int]:
    """Return the number of tasks of the service and of objects of a class."""
    answer = service.request("GET", "/probe/alive", params={"kind": kind}).json()
    return answer["tasks"], answer["objects"]
