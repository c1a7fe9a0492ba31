"""CSV exports of a running service: complete, bounded in memory and time, and aborted on errors."""

import csv
import io
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tests.services.behaviour.test_disconnects import checked_out, in_transaction
from tests.services.behaviour.variants import STREAMING_VARIANTS, where, with_streams
from tests.services.running import (
    PATIENCE_SECONDS,
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

EXPORT = "/api/v1/orders/export"
MANY = 100_000
# On PostgreSQL. `.ci/full` uses a million.
VERY_MANY = int(os.environ.get("QUICKSET_TEST_EXPORT_ROWS", str(MANY)))
MEGABYTES = 60
FIRST_BYTE_SECONDS = 0.2
EXPORTS = """
INSERT INTO orders (id, reference, customer, note, status, created_at, updated_at)
SELECT {id}, {reference}, 'Jörg Müller', '=1+1', 'draft', {now}, {now} FROM {numbers}
"""
# In the order of creation, because the IDs are UUIDv7.
FILL = {
    "sqlite": EXPORTS.format(
        id="printf('%012x70008000%012x', n, n)",
        reference="'R-' || n",
        now="'2030-01-31 12:00:00.000000'",
        numbers="(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s)",
    ),
    "postgresql": EXPORTS.format(
        id="(lpad(to_hex(n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid",
        reference="'R-' || n",
        now="'2030-01-31T12:00:00Z'",
        numbers=f"generate_series(1, {VERY_MANY}) n",
    ),
    "mysql": EXPORTS.format(
        id="concat(lpad(hex(seq), 12, '0'), '70008000', lpad(hex(seq), 12, '0'))",
        reference="concat('R-', seq)",
        now="'2030-01-31 12:00:00'",
        numbers="seq_1_to_100000",
    ),
}

with_many = where(lambda variant: variant.database != "none", STREAMING_VARIANTS)
with_many_on_server = where(lambda variant: variant.database in {"postgresql", "mysql"}, STREAMING_VARIANTS)


@pytest.fixture(scope="module")
def many(new_store: Callable[[Variant, ExitStack], Store], variant: Variant) -> Iterator[Store]:
    """Return a database with a large number of orders."""
    with ExitStack() as stack:
        store = new_store(variant, stack)
        store.execute(FILL[variant.database])
        if variant.database == "postgresql":
            store.execute("ANALYZE orders")
        yield store


@contextmanager
def exporting(service: Service) -> Iterator[httpx2.Response]:
    """Start an export on its own connection."""
    with (
        httpx2.Client(base_url=service.url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
        client.stream("GET", EXPORT) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        yield response


@contextmanager
def not_reading(service: Service) -> Iterator[None]:
    """Start an export without reading its response."""
    begun = exports(service)
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", service.port))
        stuck.sendall(f"GET {EXPORT} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: exports(service) == begun + 1, "the export has begun")
        yield


def exports(service: Service) -> int:
    """Return the number of exports in progress."""
    number: int = service.request("GET", "/probe/alive", params={"kind": "StreamingResponse"}).json()["objects"]
    return number


def megabytes(service: Service, what: str) -> float:
    """Return the memory of the process now (`VmRSS`) or at its peak (`VmHWM`)."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) / 1024


def first_byte_after(service: Service) -> float:
    """Return the time to the first byte of an export."""
    started = time.monotonic()
    with service.client.stream("GET", EXPORT) as response:
        next(response.iter_raw())
        return time.monotonic() - started


def assert_idle(service: Service, store: Store) -> None:
    """Check that no connection, transaction or task of an export is left."""
    wait_until(lambda: checked_out(service) == 0, "no connection is taken")
    if isinstance(store, ServerStore):
        wait_until(lambda: in_transaction(store) == 0, "no transaction is open")
    wait_until(lambda: exports(service) == 0, "nothing is left")


@with_many
def test_export_of_very_many_orders(project: Project, many: Store, variant: Variant) -> None:
    """A large export starts at once, is complete, uses little memory and does not block other requests."""
    count = VERY_MANY if variant.database == "postgresql" else MANY
    # Shorter than the export, which has its own limits.
    settings = {"DATABASE_URL": many.url, "DATABASE_SESSION_TIMEOUT_SECONDS": "1"}
    with project.start(settings) as service, ThreadPoolExecutor(1) as threads:
        assert min(first_byte_after(service) for _ in range(5)) < FIRST_BYTE_SECONDS
        assert_idle(service, many)
        idle = megabytes(service, "VmRSS")
        # The peak is measured from here on.
        Path(f"/proc/{service.process.pid}/clear_refs").write_text("5", encoding="ascii")
        health = threads.submit(watch_health, service)
        with exporting(service) as response:
            lines = response.iter_lines()
            head = next(lines).split(",")
            numbers = [int(line.split(",")[1].removeprefix("R-")) for line in lines]
        growth = megabytes(service, "VmHWM") - idle
        service.terminate()
        times = health.result()
        assert head == ["id", "reference", "customer", "note", "status", "total", "created_at"]
        assert numbers == list(range(count, 0, -1))
        assert growth < MEGABYTES
        assert len(times) > 10
        assert statistics.quantiles(times, n=100)[94] < 0.25, max(times)


def watch_health(service: Service) -> list[float]:
    """Return the durations of repeated health checks until the service stops."""
    times = []
    with suppress(httpx2.TransportError), httpx2.Client(base_url=service.url, trust_env=False) as client:
        while True:
            started = time.monotonic()
            client.get("/health").raise_for_status()
            times.append(time.monotonic() - started)
            # The checks must not create load themselves.
            time.sleep(0.05)
    return times


@with_streams
def test_export_of_what_customers_write(service: Service) -> None:
    """Unicode is exported unchanged, and no text becomes a formula."""
    texts = ['=HYPERLINK("https://a.example";"x")', "+1", "-1", "@A1", "\uff1d1", "Jörg \"李\", 🧾; 'x'", "1=1"]
    references = [new_reference() for _ in texts]
    for reference, text in zip(references, texts, strict=True):
        body = order(reference) | {"customer": text, "note": text}
        assert service.client.post("/api/v1/orders", json=body).status_code == 201
    response = service.request("GET", EXPORT, params={"status": "draft"})
    assert response.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    rows = {row["reference"]: row for row in csv.DictReader(io.StringIO(response.text, newline=""))}
    for reference, text in zip(references, texts, strict=True):
        shown = f"'{text}" if text[0] in "=+-@\uff1d" else text
        assert (rows[reference]["customer"], rows[reference]["note"]) == (shown, shown)
        assert (rows[reference]["status"], rows[reference]["total"]) == ("draft", "19.98")


@with_many
def test_clients_that_leave(project: Project, many: Store) -> None:
    """Aborted exports return their connections to the pool, even with more clients than connections."""
    settings = {"DATABASE_URL": many.url, "DATABASE_POOL_SIZE": "2", "DATABASE_MAX_OVERFLOW": "0"}
    with project.start(settings) as service:
        for _ in range(10):
            with exporting(service) as response:
                next(response.iter_raw())
            assert_idle(service, many)
        assert service.create_order(new_reference()).status_code == 201
        assert not service.events(level="error")


@with_many
def test_client_that_stops_reading(project: Project, many: Store) -> None:
    """A client that stops reading is disconnected, and nothing of its export is left."""
    settings = {"DATABASE_URL": many.url, "STREAM_STALL_SECONDS": "1"}
    with project.start(settings) as service, not_reading(service):
        service.wait_for_event(event="stream_broken_off")
        assert_idle(service, many)
        assert not service.events(event="unhandled_error")


@with_many
def test_slow_clients_take_no_connections(project: Project, many: Store) -> None:
    """Exports of slow clients hold no connections, so there can be more clients than connections."""
    settings = {"DATABASE_URL": many.url, "DATABASE_POOL_SIZE": "1", "DATABASE_MAX_OVERFLOW": "0"}
    with project.start(settings) as service, not_reading(service), not_reading(service):
        with exporting(service) as response:
            next(response.iter_raw())
        assert service.create_order(new_reference()).status_code == 201
        wait_until(lambda: checked_out(service) == 0, "no connection is taken")
        if isinstance(many, ServerStore):
            wait_until(lambda: in_transaction(many) == 0, "no transaction is open")
        assert exports(service) == 2


@with_many_on_server
@pytest.mark.parametrize("how", ["cut", "silent"])
def test_database_lost_meanwhile(project: Project, many: ServerStore, how: str) -> None:
    """If the database is lost, the transfer is aborted and logged as an error, and the next export is complete."""
    settings = {"DATABASE_SESSION_TIMEOUT_SECONDS": "1"}
    with (
        Proxy(many.server.port) as proxy,
        project.start(settings | {"DATABASE_URL": many.through(proxy.port)}) as service,
    ):
        with exporting(service) as response:
            chunks = response.iter_raw()
            next(chunks)
            proxy.hold()
            if how == "cut":
                proxy.cut()
            with pytest.raises(httpx2.RemoteProtocolError):
                list(chunks)
        service.wait_for_event(event="unhandled_error")
        proxy.release()
        assert_idle(service, many)
        first_byte_after(service)
