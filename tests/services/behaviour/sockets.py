"""Clients of a service's WebSockets, one or very many."""

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
    """Let this process, and those it starts, have as many connections open as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def sign_in(service: Service, email: str, password: str) -> str:
    """Make a user, if there is none, and have the service's client be that user; return the access token."""
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
    """Return a connection to be opened, as a block or by waiting for it."""
    url = f"ws://127.0.0.1:{service.port}{path}"
    return connect(url, ping_interval=None, open_timeout=PATIENCE_SECONDS, proxy=None, **options)


async def refusal(service: Service, path: str, **options: Any) -> httpx2.Response:
    """Return how the service refuses a connection."""
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
    """Open a connection to each path, some at a time; close all at the end of the block."""
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
    """Return a message as a client sends it."""
    return json.dumps({"text": text})


async def hear(connection: ClientConnection) -> str:
    """Return the text of the next message."""
    text: str = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE_SECONDS))["text"]
    return text


async def close_code(connection: ClientConnection) -> int | None:
    """Return the code that the service closes the connection with, whatever it sends before."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await connection.recv()
    return connection.close_code


def break_off(connection: ClientConnection) -> None:
    """Be gone without a word: the kernel resets the connection."""
    end: socket.socket = connection.transport.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def alive(service: Service, kind: str) -> tuple[int, int]:
    """Return how many tasks the service has, and how many objects of a class."""
    answer = service.request("GET", "/probe/alive", params={"kind": kind}).json()
    return answer["tasks"], answer["objects"]
