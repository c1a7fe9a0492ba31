"""Requests for another protocol: only WebSocket is accepted, and a body is never read as a request."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.behaviour.variants import once, once_with_rooms
from tests.services.running import PATIENCE_SECONDS, Project, Service, new_reference, order
from tests.services.servers import free_port

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n"
UNKNOWN = b"Connection: upgrade\r\nUpgrade: something\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HIDDEN = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
PLAIN = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
"""


def post(upgrade: bytes, body: bytes) -> list[bytes]:
    """Return the header and the body of a request."""
    head = b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
    return [head % (len(body), upgrade), body]


def chunked(upgrade: bytes, body: bytes) -> list[bytes]:
    """Return the same request with a body of unknown length."""
    head = (
        b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n%b\r\n"
    )
    return [head % upgrade, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]


def new_order() -> bytes:
    """Return the body of a valid order."""
    return json.dumps(order(new_reference())).encode()


def answers(service: Service, *parts: bytes) -> list[int]:
    """Send bytes in parts on one connection until the service closes it, and return all response statuses."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # The service may have closed the connection already.
            for part in parts:
                connection.sendall(part)
                time.sleep(0.02)  # Without a pause, the service would read all parts at once.
            while data := connection.recv(65536):
                received += data
    return [int(status) for status in STATUS.findall(received)]


@pytest.fixture(
    params=["one process", pytest.param("two processes", marks=pytest.mark.ci)],
    scope="module",
)
def started(request: pytest.FixtureRequest, project: Project, settings: dict[str, str]) -> Iterator[Service]:
    """Return the service with one process and with several."""
    processes = "2" if request.param == "two processes" else "1"
    with project.start(settings | {"WEB_CONCURRENCY": processes}) as service:
        yield service


@once_with_rooms
@pytest.mark.parametrize("upgrade", [H2C, UNKNOWN, WEBSOCKET], ids=["h2c", "unknown", "websocket"])
def test_upgrade_of_a_post(started: Service, upgrade: bytes) -> None:
    """The upgrade is ignored: the body is read in any form, and the next request is separate."""
    for build in (post, chunked):
        head, body = build(upgrade, new_order())
        assert answers(started, head + body + LAST) == [201, 200]
        head, body = build(upgrade, new_order())
        assert answers(started, head, body, LAST) == [201, 200]
        head, body = build(upgrade, new_order())
        assert answers(started, head[:25], head[25:-1], head[-1:] + body[:5], body[5:] + LAST) == [201, 200]
        head, body = build(upgrade, HIDDEN)
        assert answers(started, head + body + LAST) == [422, 200]
        head, body = build(upgrade, HIDDEN)
        assert answers(started, head, body, LAST) == [422, 200]
    two = [*post(upgrade, new_order()), *post(upgrade, new_order())]
    assert answers(started, b"".join(two) + LAST) == [201, 201, 200]


@once_with_rooms
@pytest.mark.parametrize("upgrade", [H2C, UNKNOWN], ids=["h2c", "unknown"])
def test_upgrade_of_a_get(started: Service, upgrade: bytes) -> None:
    """The upgrade is ignored in every version of HTTP, and `Connection: close` next to it is respected."""
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n%b\r\n" % upgrade
    assert answers(started, get + LAST) == [200, 200]
    assert answers(started, get * 1500 + LAST) == [200] * 1501
    assert answers(started, get.replace(b"Connection: ", b"Connection: close, ") + HIDDEN) == [200]
    assert answers(started, get.replace(b"1.1", b"1.0") + HIDDEN) == [200]


@once_with_rooms
def test_nothing_is_served_after_a_refused_handshake(started: Service) -> None:
    """A refused WebSocket closes its connection, and so does the CONNECT method."""
    handshake = b"GET /nothing HTTP/1.1\r\nHost: x\r\n%b\r\n" % WEBSOCKET
    assert answers(started, handshake + HIDDEN) == [404]
    assert answers(started, handshake, HIDDEN) in ([404], [])
    for upgrade in (b"", H2C, WEBSOCKET):
        assert answers(started, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n%b\r\n" % upgrade + HIDDEN) == [400]


@once
def test_uvicorn_still_needs_it(project: Project, tmp_path: Path) -> None:
    """Uvicorn runs the body as a request without `HttpProtocol`. After uvicorn's fix, remove it from the template."""
    (tmp_path / "plain.py").write_text(PLAIN)
    port = free_port()
    options = ["plain:app", "--app-dir", str(tmp_path), "--port", str(port), "--lifespan", "off"]
    with project.start({}, *options, module="uvicorn", port=port) as service:
        assert answers(service, *post(H2C, HIDDEN), LAST) == [200, 200, 200]
