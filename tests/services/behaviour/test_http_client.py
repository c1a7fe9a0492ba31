"""Calls to another service that fails, is slow or returns invalid responses."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.services.behaviour.variants import once_with_client, with_cache_and_client
from tests.services.running import PACKAGE, Project, Service, Store, new_reference, wait_until

TIMEOUT_SECONDS = 2.0
# The responses of the other service.
Answer = bytes | Callable[[socket.socket], None]

# A route that makes any call.
PROBE = """
import probe
import {package}.main
from {package}.core.http.client import HttpClientDep

build = {package}.main.create_app

def create_app(*args):
    app = build(*args)

    @app.get("/probe/ask", include_in_schema=False)
    async def ask(http_client: HttpClientDep, method: str, url: str):
        return (await http_client.request(method, url)).status_code

    return app

{package}.main.create_app = create_app

if __name__ == "__main__":
    from {package}.commands.serve import main
    main()
"""


def reply(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return a response in bytes."""
    lines = [f"HTTP/1.1 {status} .", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


RATES = reply(200, b'{"base": "USD", "rates": {"EUR": 0.5}}', "Content-Type: application/json")


def hang_up(_connection: socket.socket) -> None:
    """Send nothing and close the connection."""


def stay_silent(connection: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    connection.recv(1)


def trickle(connection: socket.socket) -> None:
    """Send an endless body, byte by byte."""
    connection.sendall(b"HTTP/1.1 200 .\r\nContent-Length: 100000\r\n\r\n{")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b" ")
            # Each byte arrives before the read timeout.
            time.sleep(0.05)


def think(connection: socket.socket) -> None:
    """Wait before the response, so that all simultaneous callers are connected."""
    time.sleep(0.1)
    connection.sendall(RATES)


@dataclass
class Upstream:
    """The other service.

    Attributes:
        url: Its URL.
        answers: Its response to each request. The last one repeats.
        requests: Its requests with their times.
        connections: The number of open connections.
        peak: The highest number of simultaneous connections.
    """

    url: str = ""
    answers: list[Answer] = field(default_factory=lambda: [RATES])
    requests: list[tuple[float, bytes]] = field(default_factory=list)
    connections: int = 0
    peak: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the end of the block."""
        upstream = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                """Serve a connection."""
                with contextlib.suppress(OSError), upstream.counted():
                    while upstream.serve(self.request):
                        pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 100

        with Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            yield
            server.shutdown()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a connection while it is open."""
        with self.lock:
            self.connections += 1
            self.peak = max(self.peak, self.connections)
        try:
            yield
        finally:
            with self.lock:
                self.connections -= 1

    def serve(self, connection: socket.socket) -> bool:
        """Serve a request, and return whether another may follow."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (data := connection.recv(65536)):
                return False
            head += data
        with self.lock:
            self.requests.append((time.monotonic(), head))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, bytes):
            connection.sendall(answer)
            return True
        answer(connection)
        return answer is think


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Return another service that is running."""
    upstream = Upstream()
    with upstream.running():
        yield upstream


@pytest.fixture
def timeout_seconds() -> float:
    """Return the time limit of a call, with all of its attempts."""
    return TIMEOUT_SECONDS


@pytest.fixture
def service(project: Project, store: Store, upstream: Upstream, timeout_seconds: float) -> Iterator[Service]:
    """Return a running service that calls the other one."""
    (project.folder / "client_probe.py").write_text(PROBE.format(package=PACKAGE))
    settings = {
        "EXCHANGE_RATES_URL": upstream.url,
        "HTTP_TIMEOUT_SECONDS": str(timeout_seconds),
        "HTTP_MAX_CONNECTIONS": "3",
        "NO_PROXY": "127.0.0.1",
    }
    database = {"DATABASE_URL": store.url} if store.url else {}
    with project.start(settings | database, module="client_probe") as service:
        yield service


@pytest.fixture
def total(service: Service) -> str:
    """Return the path of an order's total in another currency."""
    response = service.create_order(new_reference())
    assert response.status_code == 201, response.text
    return f"/api/v1/orders/{response.json()['id']}/total?currency=EUR"


def assert_unavailable(service: Service, response: httpx2.Response) -> None:
    """Check for the uniform 503 without details of the other service. The log contains the reason."""
    failure = service.failure(response, 503)
    assert failure.code == "unavailable"
    assert "127.0.0.1" not in response.text
    service.wait_for_event(event="exchange_rates_failed", request_id=response.headers["x-request-id"])


@with_cache_and_client
def test_temporary_trouble(service: Service, upstream: Upstream, total: str) -> None:
    """After a busy response or a broken connection the call is retried, and the client gets a normal response."""
    upstream.answers = [reply(503), hang_up, RATES]
    response = service.request("GET", total)
    assert response.status_code == 200, response.text
    assert response.json()["rate"] == "0.5"
    times = [when for when, _ in upstream.requests]
    assert len(times) == 3
    assert times[1] - times[0] >= 0.1
    assert times[2] - times[1] >= 0.2
    request_id = response.headers["x-request-id"]
    assert all(f"x-request-id: {request_id}".encode() in head.lower() for _, head in upstream.requests)
    assert len(service.events(event="stamina.retry_scheduled", request_id=request_id)) == 2


@with_cache_and_client
def test_trouble_that_stays(service: Service, upstream: Upstream, total: str) -> None:
    """A permanent failure or an invalid response is a 503, and the next valid response a 200."""
    for answer in (
        reply(500),
        reply(404),
        reply(302, b"", "Location: http://127.0.0.1:1/"),
        reply(200, b"<html>"),
        reply(200, b'{"rates": {"EUR": "free"}}'),
        reply(200, b"{}", "Content-Encoding: gzip"),
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        hang_up,
        reply(503),
    ):
        upstream.answers = [answer]
        assert_unavailable(service, service.request("GET", total))
    upstream.answers = [RATES]
    assert service.request("GET", total).status_code == 200
    assert not service.events(level="error")


@with_cache_and_client
@pytest.mark.parametrize("answer", [stay_silent, trickle])
def test_slow_service(service: Service, upstream: Upstream, total: str, answer: Answer) -> None:
    """A call ends at its timeout, and holds no database connection meanwhile."""
    upstream.answers = [answer]
    with ThreadPoolExecutor() as threads:
        started = time.monotonic()
        waiting = threads.submit(service.request, "GET", total)
        wait_until(lambda: upstream.requests, "the other service is asked")
        if service.client.get("/probe/pool").status_code == 200:
            assert service.client.get("/probe/pool").json() == {"checked_out": 0}
        assert_unavailable(service, waiting.result())
    assert TIMEOUT_SECONDS - 0.1 < time.monotonic() - started < TIMEOUT_SECONDS + 2
    assert len(upstream.requests) == 1


@once_with_client
def test_retry_after(service: Service, upstream: Upstream, total: str) -> None:
    """A service that sends `Retry-After` is not called again before that time."""
    upstream.answers = [reply(429, b"", "Retry-After: 1"), RATES]
    assert_unavailable(service, service.request("GET", total))
    assert len(upstream.requests) == 1


@once_with_client
# The random delays between three attempts come to more than two seconds now and then.
@pytest.mark.parametrize("timeout_seconds", [30.0])
@pytest.mark.parametrize("answer", [hang_up, reply(503), reply(429)])
def test_what_may_be_repeated(service: Service, upstream: Upstream, answer: Answer) -> None:
    """Only idempotent requests are retried."""
    upstream.answers = [answer]
    for method, attempts in {"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "PATCH": 1}.items():
        upstream.requests.clear()
        service.request("GET", "/probe/ask", params={"method": method, "url": upstream.url})
        assert len(upstream.requests) == attempts, method


@once_with_client
def test_service_that_is_not_there(project: Project, store: Store) -> None:
    """A refused connection is a 503."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    settings = {"DATABASE_URL": store.url, "EXCHANGE_RATES_URL": url, "NO_PROXY": "127.0.0.1"}
    with project.start(settings) as service:
        order = service.create_order(new_reference()).json()["id"]
        assert_unavailable(service, service.request("GET", f"/api/v1/orders/{order}/total?currency=EUR"))
        assert service.events(event="stamina.retry_scheduled")


@once_with_client
def test_connections(service: Service, upstream: Upstream, total: str) -> None:
    """Connections are limited by the setting, reused, and closed at the shutdown."""
    upstream.answers = [think]
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(service.request, "GET", total) for _ in range(24)]
        assert [answer.result().status_code for answer in answers] == [200] * 24
    assert upstream.peak == 3
    assert 1 <= upstream.connections <= 3
    service.terminate()
    service.wait()
    wait_until(lambda: upstream.connections == 0, "the connections are closed")
    assert service.events(event="stopped")
    assert not any("Unclosed" in line for line in service.lines)
