"""Responses and log records when a dependency of the service fails."""

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import LiteralString

import httpx2
import pytest

from tests.services.behaviour.conftest import ORIGIN
from tests.services.behaviour.variants import (
    EVERYTHING_VARIANTS,
    once_per_database,
    once_per_format,
    once_with_file,
    where,
    with_database,
    with_file,
    with_server,
)
from tests.services.running import (
    FileStore,
    Project,
    Proxy,
    ServerStore,
    Service,
    Store,
    Variant,
    new_reference,
    order,
    wait_until,
)
from tests.services.servers import Kind, PrivateServer

DEPLOYED = {"ENVIRONMENT": "staging"}
DEFERRED_FAULT = {
    "sqlite": [
        "CREATE TABLE nobody (id INTEGER PRIMARY KEY)",
        "CREATE TABLE fault (id INTEGER REFERENCES nobody (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER fault AFTER INSERT ON orders BEGIN INSERT INTO fault VALUES (1); END",
    ],
    "postgresql": [
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'secret fault'; END $$",
        """CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fault()""",
    ],
}
BILLS_WITH_TYPES_OF_ORDERS: list[LiteralString] = [
    "CREATE TABLE bills AS SELECT id AS order_id FROM orders",
    "ALTER TABLE bills ADD FOREIGN KEY (order_id) REFERENCES orders (id)",
]
# A row that refers to each order.
BILLS: dict[str, list[LiteralString]] = {
    "sqlite": [
        "CREATE TABLE bills (order_id REFERENCES orders (id))",
        "INSERT INTO bills SELECT id FROM orders",
    ],
    "postgresql": BILLS_WITH_TYPES_OF_ORDERS,
    "mysql": BILLS_WITH_TYPES_OF_ORDERS,
}


def assert_not_ready(service: Service) -> None:
    """Check that readiness returns 503 within two seconds and names only the database."""
    started = time.monotonic()
    failure = service.failure(service.request("GET", "/health/ready"), 503)
    assert time.monotonic() - started < 2
    assert failure.code == "not_ready"
    assert [detail["location"] for detail in failure.details] == [["database"]]


# MySQL has no deferred constraints: its commits fail only with the connection, as tested below.
@where(lambda variant: variant.database in DEFERRED_FAULT)
def test_commit_refused_by_the_database(project: Project, own_store: Store, variant: Variant) -> None:
    """A commit that the database rejects is an error for the client, and nothing is stored."""
    for statement in DEFERRED_FAULT[variant.database]:
        own_store.execute(statement)
    with project.start({"DATABASE_URL": own_store.url}) as service:
        response = service.create_order("refused")
        # SQLite's commits fail only for a foreign key, which is a conflict on every database.
        status, code = (409, "conflict") if variant.database == "sqlite" else (500, "internal_error")
        assert service.failure(response, status).code == code
        assert "fault" not in response.text
        assert service.references() == set()
        own_store.execute("DROP TRIGGER fault" if variant.database == "sqlite" else "DROP TRIGGER fault ON orders")
        assert service.create_order("refused").status_code == 201


@once_per_database
def test_violated_foreign_key(project: Project, own_store: Store, variant: Variant) -> None:
    """Deleting a row with references returns 409, and the row stays."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        location = service.create_order("billed").headers["location"]
        for statement in BILLS[variant.database]:
            own_store.execute(statement)
        response = service.client.delete(location)
        assert service.failure(response, 409).code == "conflict"
        assert "bills" not in response.text
        assert service.references() == {"billed"}
        own_store.execute("DELETE FROM bills")
        assert service.client.delete(location).status_code == 204


@with_server
def test_connection_lost_at_commit(project: Project, store: ServerStore) -> None:
    """A connection that breaks at the commit returns 503, and nothing is stored."""
    with Proxy(store.server.port) as proxy, project.start({"DATABASE_URL": store.through(proxy.port)}) as service:
        reference = new_reference()
        assert service.create_order(new_reference()).status_code == 201
        proxy.cut_at = b"COMMIT"
        assert service.failure(service.create_order(reference), 503).code == "unavailable"
        assert proxy.cuts == 1
        proxy.cut_at = None
        assert reference not in service.references()
        assert service.create_order(reference).status_code == 201


@with_file
def test_disk_full_at_commit(project: Project, own_store: FileStore) -> None:
    """A full disk at the commit returns 503, and nothing is stored."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        # The current size of the files. The commit would exceed it.
        limit = max(path.stat().st_size for path in own_store.files)
        soft, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
        body = order("full") | {"lines": order("full")["lines"] * 100}
        for _ in range(20):
            response = service.client.post("/api/v1/orders", json=body | {"reference": new_reference()})
            if response.status_code != 201:
                break
        stored = service.references()
        assert service.failure(response, 503).code == "unavailable"
        response = service.client.post("/api/v1/orders", json=body)
        assert service.failure(response, 503).code == "unavailable"
        assert service.references() == stored
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        assert service.client.post("/api/v1/orders", json=body).status_code == 201


@with_file
def test_database_locked(project: Project, own_store: FileStore) -> None:
    """If another process holds the only write lock, writes return 503 and reads work."""
    with (
        project.start({"DATABASE_URL": own_store.url}) as service,
        closing(sqlite3.connect(own_store.path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(service.create_order, "locked")
            assert service.references() == set()
            assert service.failure(answer.result(), 503).code == "unavailable"
        other.execute("ROLLBACK")
        assert service.create_order("locked").status_code == 201


@where(lambda variant: variant.database == "sqlite", EVERYTHING_VARIANTS)
def test_read_that_asks_elsewhere_while_the_database_is_locked(project: Project, own_store: FileStore) -> None:
    """An authenticated read that calls another service needs no write lock on the database."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        service.sign_in()
        answer = service.create_order("total")
        with closing(sqlite3.connect(own_store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            response = service.client.get(f"/api/v1/orders/{answer.json()['id']}/total", params={"currency": "USD"})
        assert (response.status_code, response.json()["total"]) == (200, answer.json()["total"])


@once_per_format
def test_unhandled_error(service: Service) -> None:
    """An unexpected exception is the uniform 500 with all headers, and one log line with the traceback."""
    secret = "the-exception-knows-too-much"
    response = service.request("GET", "/probe/fail", params={"message": secret}, headers={"Origin": ORIGIN})
    failure = service.failure(response, 500)
    assert failure.code == "internal_error"
    assert not failure.details
    assert secret not in response.text
    assert "RuntimeError" not in response.text
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in response.headers
    assert float(response.headers["x-process-time-ms"]) > 0

    request_id = response.headers["x-request-id"]
    service.wait_for_event(event="request", request_id=request_id, status=500)
    [line] = [event for event in service.events(request_id=request_id) if event["event"] != "request"]
    assert line["level"] == "error"
    assert f"RuntimeError: {secret}" in line["exception"]
    assert "Traceback" in line["exception"]
    [line_in_output] = [line for line in service.lines if secret in line]
    assert request_id in line_in_output


@once_with_file
def test_error_after_the_response_began(service: Service) -> None:
    """An error after the response started aborts the connection, with one traceback in the log."""
    request_id = "broken-off-while-streaming"
    with pytest.raises(httpx2.RemoteProtocolError):
        service.request("GET", "/probe/break-off", headers={"X-Request-ID": request_id})
    service.wait_for_event(event="request", request_id=request_id, status=200)
    [line] = [line for line in service.lines if "lost while streaming" in line]
    assert request_id in line
    assert "Traceback" in line


@with_database
def test_error_of_the_database(project: Project, own_store: Store) -> None:
    """A statement that fails is a 500 without SQL in the response."""
    own_store.execute("DROP TABLE order_lines")
    own_store.execute("DROP TABLE orders")
    with project.start({"DATABASE_URL": own_store.url} | DEPLOYED) as service:
        for response in (service.create_order("A-1"), service.client.get("/api/v1/orders")):
            assert service.failure(response, 500).code == "internal_error"
            assert "orders" not in response.text
            assert response.headers["strict-transport-security"]
            request_id = response.headers["x-request-id"]
            service.wait_for_event(event="request", request_id=request_id)
            [line] = [event for event in service.events(request_id=request_id) if event["event"] != "request"]
            assert "orders" in line["exception"]


@with_database
def test_pool_exhausted(project: Project, store: Store) -> None:
    """A request without a free connection returns 503, and later requests succeed."""
    settings = {
        "DATABASE_URL": store.url,
        "DATABASE_POOL_SIZE": "1",
        "DATABASE_MAX_OVERFLOW": "0",
        "DATABASE_POOL_TIMEOUT_SECONDS": "0.3",
    }
    with project.start(settings) as service, ThreadPoolExecutor() as threads:
        held = threads.submit(service.request, "GET", "/probe/hold?seconds=1.5")
        wait_until(lambda: service.request("GET", "/probe/pool").json()["checked_out"] == 1, "a connection is taken")
        started = time.monotonic()
        assert service.failure(service.request("GET", "/api/v1/orders"), 503).code == "unavailable"
        assert time.monotonic() - started < 1
        assert service.request("GET", "/health").status_code == 200
        assert held.result().status_code == 200
        assert service.create_order(new_reference()).status_code == 201


@contextmanager
def without_database(private: PrivateServer, how: str) -> Iterator[None]:
    """Stop the server for the duration of the block."""
    if how == "stopped":
        private.stop()
    else:
        private.kill()
    try:
        yield
    finally:
        private.start()


@with_server
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_database_away(
    project: Project, variant: Variant, private_server_of: Callable[[Kind], PrivateServer], how: str
) -> None:
    """Without its database the service is live, is not ready, returns 503, and recovers by itself."""
    assert variant.database in {"postgresql", "mysql"}
    private = private_server_of(variant.database)
    with private.database() as name:
        store = ServerStore(private, name)
        project.migrate(store)
        with project.start({"DATABASE_URL": store.url}) as service:
            assert service.create_order("before").status_code == 201
            wait_until(service.is_ready, "ready")
            with without_database(private, how):
                wait_until(lambda: not service.is_ready(), "the loss is noticed", 2)
                assert service.request("GET", "/health").status_code == 200
                assert_not_ready(service)
                assert service.failure(service.create_order("during"), 503).code == "unavailable"
                assert service.failure(service.client.get("/api/v1/orders"), 503).code == "unavailable"
            wait_until(service.is_ready, "ready again")
            assert service.create_order("after").status_code == 201
            stored = service.references()
            assert "after" in stored
            assert "during" not in stored
            # Data that the test server had not written when it was killed does not count.
            assert how == "killed" or "before" in stored
            assert not service.events(event="unhandled_error")


@with_file
def test_file_away(project: Project, own_store: FileStore) -> None:
    """Without its file the service is live, is not ready, returns 503, and recovers by itself."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        assert service.create_order("before").status_code == 201
        wait_until(service.is_ready, "ready")
        moved = [(path, path.with_name(f"moved-{path.name}")) for path in own_store.files]
        for path, aside in moved:
            path.rename(aside)
        wait_until(lambda: not service.is_ready(), "the loss is noticed", 2)
        assert service.request("GET", "/health").status_code == 200
        assert_not_ready(service)
        assert service.failure(service.create_order("during"), 503).code == "unavailable"
        assert service.failure(service.client.get("/api/v1/orders"), 503).code == "unavailable"
        assert not own_store.path.exists()
        for path, aside in moved:
            aside.rename(path)
        wait_until(service.is_ready, "ready again")
        assert service.create_order("after").status_code == 201
        assert service.references() == {"before", "after"}
        assert not service.events(event="unhandled_error")


@with_server
def test_database_never_answers(project: Project, store: ServerStore) -> None:
    """If the database accepts connections without answering, readiness and requests return 503."""
    settings = {"DATABASE_CONNECT_TIMEOUT_SECONDS": "2", "DATABASE_SESSION_TIMEOUT_SECONDS": "3"}
    with (
        Proxy(store.server.port) as proxy,
        project.start(settings | {"DATABASE_URL": store.through(proxy.port)}) as service,
        ThreadPoolExecutor(8) as threads,
    ):
        for response in threads.map(lambda _: service.request("GET", "/probe/hold?seconds=0.3"), range(5)):
            assert response.status_code == 200
        wait_until(service.is_ready, "ready")
        proxy.hold()
        # More requests than pool connections, so that some use a silent connection and others open one.
        answers = [threads.submit(service.request, "GET", "/api/v1/orders", timeout=12) for _ in range(8)]
        wait_until(lambda: not service.is_ready(), "the silence is noticed", 2)
        assert_not_ready(service)
        assert service.request("GET", "/health").status_code == 200
        statuses = [status_of(answer.result) for answer in answers]
        proxy.release()
        wait_until(service.is_ready, "ready again")
        assert service.create_order(new_reference()).status_code == 201
        wait_until(lambda: service.request("GET", "/probe/pool").json()["checked_out"] == 0, "no connection is taken")
        assert statuses == [503] * 8


def status_of(ask: Callable[[], httpx2.Response]) -> int | None:
    """Return the status of a response, or None if none came in time."""
    try:
        return ask().status_code
    except httpx2.TimeoutException:
        return None


@once_per_database
def test_unreachable_from_the_start(project: Project, variant: Variant, tmp_path: Path) -> None:
    """A service that starts before its database is live, is not ready, and returns 503."""
    urls = {
        "sqlite": f"sqlite+aiosqlite:///{tmp_path / 'data.db'}",
        "postgresql": "postgresql+asyncpg://nobody@127.0.0.1:9/nothing",
        "mysql": "mysql+asyncmy://nobody@127.0.0.1:9/nothing",
    }
    with project.start({"DATABASE_URL": urls[variant.database]}) as service:
        assert_not_ready(service)
        assert service.failure(service.client.get("/api/v1/orders"), 503).code == "unavailable"


@where(lambda variant: variant.layout == "feature" and variant.database == "postgresql")
def test_no_server_of_the_wanted_kind(project: Project, store: ServerStore) -> None:
    """If no server of the required kind is available, as during a failover, requests return 503."""
    with project.start({"DATABASE_URL": f"{store.url}?target_session_attrs=standby"}) as service:
        assert_not_ready(service)
        assert service.failure(service.client.get("/api/v1/orders"), 503).code == "unavailable"
