"""The shutdown of the service and its effect on clients."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.services.behaviour.variants import once, once_with_file, once_with_rooms, where, with_server
from tests.services.running import (
    PATIENCE_SECONDS,
    Project,
    Proxy,
    ServerStore,
    Service,
    Store,
    new_reference,
    order,
    wait_until,
)

DRAIN_SECONDS = 3.0
SLOW_SECONDS = 4.0
GRACE_SECONDS = 5


@dataclass
class Load:
    """Clients that send requests continuously, each on a new connection, as behind a load balancer."""

    service: Service
    answers: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self, clients: int) -> Iterator[None]:
        """Keep the load up until it is stopped or the block ends."""
        with ThreadPoolExecutor(clients) as threads:
            for number in range(clients):
                threads.submit(self._ask, number)
            try:
                yield
            finally:
                self.stopped.set()

    def _ask(self, number: int) -> None:
        while not self.stopped.is_set():
            try:
                if number % 2:
                    response = self.service.request("POST", "/api/v1/orders", json=order(new_reference()))
                else:
                    response = self.service.request("GET", "/api/v1/orders", params={"size": 5})
                self.answers.append(response.status_code)
            except httpx2.TransportError as error:
                self.errors.append(repr(error))


@once
def test_sigterm_during_load(project: Project, store: Store, settings: dict[str, str]) -> None:
    """A deployed service becomes unready, serves during the delay, answers all accepted requests and exits."""
    assert_drains(project, store, settings, processes=1)


@where(lambda variant: variant.layout == "layered")
def test_sigterm_during_load_of_two_processes(project: Project, store: Store, settings: dict[str, str]) -> None:
    """A service with several processes also serves with all of them until the end of the delay."""
    assert_drains(project, store, settings, processes=2)


def assert_drains(project: Project, store: Store, settings: dict[str, str], *, processes: int) -> None:
    """Start a service under load, stop it, and check the results of its clients."""
    settings = settings | {
        "ENVIRONMENT": "staging",
        "DRAIN_DELAY_SECONDS": str(DRAIN_SECONDS),
        "KEEP_ALIVE_SECONDS": "1",
        "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        "WEB_CONCURRENCY": str(processes),
    }
    load_before = 20
    with project.start(settings) as service, ThreadPoolExecutor() as threads:
        wait_until(lambda: len(service.events(event="started")) == processes, "every process is up")
        load = Load(service)
        with load.running(clients=4):
            wait_until(lambda: len(load.answers) >= load_before, "the load runs")
            service.terminate()
            signalled = time.monotonic()
            slow = [
                threads.submit(service.request, "GET", "/probe/pause", params={"seconds": SLOW_SECONDS})
                for _ in range(4)
            ]
            wait_until(lambda: not service.is_ready(), "readiness reports the drain", 2)
            draining = time.monotonic()
            wait_until(lambda: len(service.events(event="draining")) == processes, "every process drains")
            failure = service.failure(service.request("GET", "/health/ready"), 503)
            assert failure.code == "not_ready"
            assert [detail["location"] for detail in failure.details] == [["drain"]]
            assert service.request("GET", "/health").status_code == 200
            # By this time a load balancer has reacted and sends no more requests.
            load.stopped.wait(draining + DRAIN_SECONDS / 4 - time.monotonic())
            assert len(load.answers) > load_before
            load.stopped.set()
        assert load.errors == []
        assert set(load.answers) <= {200, 201}
        assert [answer.result().status_code for answer in slow] == [200] * len(slow)
        code = service.wait(GRACE_SECONDS)
        assert time.monotonic() - signalled < DRAIN_SECONDS + GRACE_SECONDS
        # A single process ends with the signal, and a supervisor of several exits normally.
        assert code == (-signal.SIGTERM if processes == 1 else 0)
        assert len(service.events(event="stopped")) == processes
        assert not service.events(level="error")
        if isinstance(store, ServerStore):
            assert_no_connections(store)


@once_with_file
def test_sigterm_for_the_whole_group(project: Project, settings: dict[str, str]) -> None:
    """If a process manager signals supervisor and processes at once, as systemd does, the drain is complete."""
    settings = settings | {
        "ENVIRONMENT": "staging",
        "DRAIN_DELAY_SECONDS": "3",
        "KEEP_ALIVE_SECONDS": "1",
        "WEB_CONCURRENCY": "2",
    }
    with project.start(settings) as service:
        wait_until(lambda: len(service.events(event="started")) == 2, "every process is up")
        os.killpg(service.process.pid, signal.SIGTERM)
        signaled = time.monotonic()
        wait_until(lambda: len(service.events(event="draining")) == 2, "every process drains")
        while time.monotonic() < signaled + 2:
            assert service.request("GET", "/health").status_code == 200
        assert service.wait() == 0
        assert time.monotonic() - signaled >= 3


@once_with_rooms
@pytest.mark.parametrize("processes", [1, 2])
def test_open_connections_outlive_the_listener(project: Project, settings: dict[str, str], processes: int) -> None:
    """After the listener is closed, new connections are refused, and open ones are served once more."""
    settings = settings | {
        "ENVIRONMENT": "staging",
        "DRAIN_DELAY_SECONDS": "0",
        "KEEP_ALIVE_SECONDS": "20",
        "WEB_CONCURRENCY": str(processes),
    }
    with project.start(settings) as service, ExitStack() as stack:
        wait_until(lambda: len(service.events(event="started")) == processes, "every process is up")
        service.client.close()
        # Enough connections for every process.
        connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=30) for _ in range(20)]
        for connection in connections:
            stack.enter_context(contextlib.closing(connection))
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        service.terminate()

        def refuses() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", service.port), timeout=1):
                    return False
            except ConnectionRefusedError:
                return True

        wait_until(refuses, "new connections are refused", 10)
        for connection in connections:
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert response.status == 200
            assert response.headers["connection"] == "close"
            response.read()
        # No connection is open, so the service does not wait for the remaining time.
        service.wait(10)
        assert len(service.events(event="listener_closed")) == processes
        assert not service.events(level="error")


def assert_no_connections(store: ServerStore) -> None:
    """Check that no client is connected to a database."""
    if store.server.kind == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: store.scalar(query) == 0, "the connections are closed", 3)
    else:
        query = "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        wait_until(lambda: store.scalar(query) == 0, "the connections are closed", 3)


@once_with_file
def test_request_longer_than_the_grace_period(project: Project, settings: dict[str, str]) -> None:
    """A request that does not end is canceled after the grace period, and the service exits."""
    settings = settings | {"SHUTDOWN_GRACE_SECONDS": "1"}
    with project.start(settings) as service, ThreadPoolExecutor() as threads:
        endless = threads.submit(service.request, "GET", "/probe/pause", params={"seconds": 60})
        wait_until(lambda: service.events(event="request", route="/health"), "the service serves")
        with socket.create_connection(("127.0.0.1", service.port)) as silent:
            silent.sendall(b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            service.request("GET", "/health")
            service.terminate()
            started = time.monotonic()
            code = service.wait()
            assert time.monotonic() - started < 4
            assert code == -signal.SIGTERM
        service.failure(endless.result(), 500)
        assert service.events(event="stopped")


@once_with_file
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_service_ends_at_once(project: Project, settings: dict[str, str], number: signal.Signals) -> None:
    """In local development Ctrl-C and SIGTERM stop the service cleanly at once."""
    with project.start(settings | {"DRAIN_DELAY_SECONDS": "30"}, module="shop") as service:
        service.process.send_signal(number)
        started = time.monotonic()
        service.wait()
        assert time.monotonic() - started < 2
        assert service.events(event="stopped")
        assert not service.events(level="error")
        assert not any("Traceback" in line for line in service.lines)


@once_with_file
def test_ctrl_c_ends_the_drain(project: Project, settings: dict[str, str]) -> None:
    """A second SIGTERM has no effect, and Ctrl-C stops the service at once."""
    settings = settings | {"ENVIRONMENT": "production", "DRAIN_DELAY_SECONDS": "30"}
    with project.start(settings) as service:
        for _ in range(2):
            service.terminate()
            service.wait_for_event(event="draining")
        assert service.request("GET", "/health").status_code == 200
        service.process.send_signal(signal.SIGINT)
        service.wait(5)
        assert not service.events(level="error")


@with_server
def test_sigterm_without_database(project: Project, store: ServerStore) -> None:
    """A service whose database does not respond exits within its grace period."""
    settings = {"SHUTDOWN_GRACE_SECONDS": "2"}
    with (
        Proxy(store.server.port) as proxy,
        project.start(settings | {"DATABASE_URL": store.through(proxy.port)}) as service,
        ThreadPoolExecutor() as threads,
    ):
        assert service.create_order(new_reference()).status_code == 201
        proxy.hold()
        waiting = threads.submit(service.request, "GET", "/api/v1/orders", timeout=PATIENCE_SECONDS)
        wait_until(lambda: service.request("GET", "/probe/pool").json()["checked_out"] == 1, "a request waits")
        service.terminate()
        started = time.monotonic()
        service.wait()
        assert time.monotonic() - started < 6
        with contextlib.suppress(httpx2.TransportError):
            service.failure(waiting.result(), 500, 503)
