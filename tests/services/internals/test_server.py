"""What the service needs of uvicorn's internals: these tests fail when an update changes them."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.core.http.server import (
    HttpProtocol,
    Supervisor,
    before_shutdown,
    keep_serving,
    running_server,
    stop_listening,
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{scope['path']}: {len(body)} bytes")(scope, receive, send)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """Yield a server and its port."""
    config = uvicorn.Config(echo, http=HttpProtocol, log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(config, server.server_state, {}), "127.0.0.1", 0
    )
    server.servers = [listener]
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def test_unknown_upgrade_is_ignored() -> None:
    """The body of a request with an upgrade but WebSocket is read, and is no new request."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    head = (
        b"POST /seen HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
        b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n"
    ) % len(hidden)
    for parts in ([head + hidden], [head, hidden], [head[:30], head[30:] + hidden[:5], hidden[5:]]):
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            answer = await asyncio.wait_for(reader.read(), timeout=5)
            writer.close()
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert answer.endswith(b"/seen: %d bytes" % len(hidden))


async def test_open_connections_are_served_after_the_listener_is_closed() -> None:
    """A client on an open connection is answered, and asked to close it; a new one is refused."""
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"connection: close" not in await reader.readuntil(b"0 bytes")
        await stop_listening(server)
        serving_on = asyncio.create_task(keep_serving(server, 60, while_connected=True))
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"connection: close" in await asyncio.wait_for(reader.read(), timeout=5)
        writer.close()
        # No connection is left: there is nothing to wait for.
        await asyncio.wait_for(serving_on, timeout=5)


async def test_waiting_connections_are_served() -> None:
    """A connection that the kernel has taken, and the server has not, is served, too."""
    async with serving() as (server, port):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await stop_listening(server)
            await keep_serving(server, 0.2, while_connected=False)
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_running_server_is_found() -> None:
    """The server is known by the signals that it handles."""
    server = uvicorn.Server(uvicorn.Config(echo))
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    try:
        assert running_server() is server
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert running_server() is None
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_server_waits_before_it_shuts_down() -> None:
    """An action comes first, and a second Ctrl-C ends it."""
    async with serving() as (server, _):
        done: list[str] = []

        async def act() -> None:
            done.append("action")
            await keep_serving(server, 60, while_connected=False)

        async def shut_down(sockets: object = None) -> None:
            done.append("shutdown")

        server.shutdown = shut_down  # type: ignore[method-assign]
        before_shutdown(server, act)
        for _ in range(2):
            server.handle_exit(signal.SIGINT, None)
        await asyncio.wait_for(server.shutdown(), timeout=5)
    assert done == ["action", "shutdown"]


def test_supervisor_closes_its_listener() -> None:
    """The listener is closed when the processes stop, so that no connection waits forever."""
    with socket.socket() as listener:
        Supervisor(uvicorn.Config(""), sockets=[listener]).terminate_all()
        assert listener.fileno() == -1
