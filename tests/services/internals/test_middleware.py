"""What every request passes through."""

import json
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from httpx2 import ASGITransport, AsyncClient
from starlette.types import Message, Scope

from app.core.settings import Environment
from app.main import create_app
from app.settings import Settings
from tests.conftest import State, connect, serve


async def test_request_id_is_echoed(client: AsyncClient) -> None:
    """A safe id of the caller is kept, so that logs of several services meet."""
    response = await client.get("/health", headers={"X-Request-ID": "caller-0123456789"})
    assert response.headers["x-request-id"] == "caller-0123456789"


@pytest.mark.parametrize("unsafe", ["", "short", "a" * 65, "with space", 'quote"quote', "nämlich"])
async def test_unsafe_request_id_is_replaced(client: AsyncClient, unsafe: str) -> None:
    """Anything else gives way to a new id."""
    response = await client.get("/health", headers={b"X-Request-ID": unsafe.encode()})
    assert len(response.headers["x-request-id"]) == 36


async def test_duration_is_sent(client: AsyncClient) -> None:
    """The client can see how long the service took."""
    headers = (await client.get("/health")).headers
    assert float(headers["x-process-time-ms"]) >= 0
    assert headers["server-timing"] == f"app;dur={headers['x-process-time-ms']}"


async def test_security_headers(client: AsyncClient) -> None:
    """Browsers may do nothing with an answer, except show the docs page."""
    api = (await client.get("/health")).headers
    assert api["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in api
    docs = (await client.get("/docs")).headers
    assert "script-src 'self'" in docs["content-security-policy"]


async def test_deployed_service_wants_https(settings: Settings) -> None:
    """A deployed service sends HSTS. The docs can be off."""
    update = {"environment": Environment.PRODUCTION, "docs_enabled": False}
    async with connect(create_app(settings.model_copy(update=update))) as client:
        response = await client.get("/docs")
    assert response.status_code == 404
    assert "strict-transport-security" in response.headers


async def test_cors(settings: Settings) -> None:
    """Pages of a listed origin may call; others may not."""
    app = create_app(settings.model_copy(update={"cors_origins": ["https://a.example"]}))
    async with connect(app) as client:
        for origin, allowed in [("https://a.example", True), ("https://b.example", False)]:
            response = await client.get("/health", headers={"Origin": origin})
            assert (response.headers.get("access-control-allow-origin") == origin) is allowed
        assert (await client.get("/health")).headers["vary"] == "Origin"
        preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "PATCH"}
        response = await client.options("/health", headers=preflight)
        assert "PATCH" in response.headers["access-control-allow-methods"]
        preflight["Origin"] = "https://b.example"
        response = await client.options("/health", headers=preflight)
        assert response.status_code == 400


async def test_foreign_host_is_refused(settings: Settings) -> None:
    """With a list of hosts, a request for another one is refused, unless it is a probe."""
    update = {"allowed_hosts": ["A.example", "*.b.example", "[::1]"]}
    async with connect(create_app(settings.model_copy(update=update))) as client:
        for host in ["a.example", "A.example:8000", "x.b.example", "[::1]:8000"]:
            assert (await client.get("/docs", headers={"Host": host})).status_code == 200
        for host in ["b.example", "a.example.evil", ""]:
            response = await client.get("/docs", headers={"Host": host})
            assert response.status_code == 400
            assert "x-request-id" in response.headers
            assert response.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/health", headers={"Host": "10.0.0.7"})).status_code == 200


async def test_only_a_trusted_proxy_names_the_client(settings: Settings, state: State) -> None:
    """X-Forwarded-For counts when the proxy is known, and is ignored otherwise."""
    local, mapped, real = "127.0.0.1", "::ffff:127.0.0.1", "203.0.113.7"
    for proxies, peer, expected in [
        (["127.0.0.1"], local, real),
        (["127.0.0.0/8"], local, real),
        (["127.0.0.0/8"], mapped, mapped),
        (["::ffff:127.0.0.0/104"], mapped, real),
        (["10.0.0.0/8"], mapped, mapped),
        (["*"], mapped, real),
        ([], local, local),
    ]:
        app = create_app(settings.model_copy(update={"trusted_proxies": proxies}))

        @app.get("/client")
        async def get_client(request: Request) -> str | None:
            return request.client.host if request.client else None

        transport = ASGITransport(serve(app, state), client=(peer, 123))
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.get("/client", headers={"X-Forwarded-For": real})
        assert response.json() == expected


@pytest.fixture
async def small(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Return a client of an application that takes ten bytes at most."""
    app = create_app(settings.model_copy(update={"max_body_bytes": 10}))

    @app.post("/echo")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    async with connect(app) as client:
        yield client


async def test_announced_large_body_is_refused(small: AsyncClient) -> None:
    """A body is refused by its announced length, before it is read."""
    assert (await small.post("/echo", content=b"x" * 10)).status_code == 200
    response = await small.post("/echo", content=b"x" * 11)
    assert response.status_code == 413
    assert "body_too_large" in response.text


async def test_streamed_large_body_is_refused(small: AsyncClient) -> None:
    """A body without a length is refused as soon as it is too long."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"xxxx"

    response = await small.post("/echo", content=chunks())
    assert response.status_code == 413
    assert "body_too_large" in response.text


async def test_access_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A request gets one line, which holds no query and no header."""
    app = create_app(settings.model_copy(update={"log_format": "json"}))

    @app.get("/things/{name}")
    async def get_thing(name: str) -> str:
        return name

    async with connect(app) as client:
        capsys.readouterr()
        headers = {"Authorization": "Bearer s3cret"}
        response = await client.get("/things/pen?token=s3cret", headers=headers)
        await client.get("/health")
        out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    [line] = [line for line in lines if line["event"] == "request"]
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "level": "info",
        "logger": "app.core.http.middleware.request_log",
        "event": "request",
        "method": "GET",
        "route": "/things/{name}",
        "status": 200,
        "client": "127.0.0.1",
        "request_id": response.headers["x-request-id"],
    }


async def test_access_line_for_a_terminal(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """People get a readable line, of health requests too if they want."""
    update = {"log_format": "console", "access_log_health": True}
    async with connect(create_app(settings.model_copy(update=update))) as client:
        capsys.readouterr()
        await client.get("/health")
        assert "route=/health" in capsys.readouterr().out


async def test_access_lines_follow_the_level(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A service that logs only warnings writes no line for a request."""
    async with connect(create_app(settings.model_copy(update={"log_level": "WARNING"}))) as client:
        capsys.readouterr()
        await client.get("/nowhere")
        assert capsys.readouterr().out == ""


async def test_crash_while_streaming_breaks_off(settings: Settings, state: State) -> None:
    """When the answer has begun, the connection is broken off rather than ended in good order."""
    app = create_app(settings)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("lost")

        return StreamingResponse(chunks())

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/stream",
        "asgi": {"spec_version": "2.4"},
        "headers": [],
        "query_string": b"",
        "client": None,
        "state": state,
    }
    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"]


async def test_other_protocols_pass(app: FastAPI, state: State) -> None:
    """A WebSocket passes through all middleware, up to the router that knows no route for it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {"type": "websocket", "path": "/nowhere", "headers": [], "query_string": b""}
    await app({**scope, "state": state}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 404)
    assert b"x-request-id" in dict(sent[0]["headers"])
