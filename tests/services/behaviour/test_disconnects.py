"""Clients that disconnect before they have a response."""

import asyncio
import json
import socket
import struct

from tests.services.behaviour.variants import with_database
from tests.services.running import Project, ServerStore, Service, Store, new_reference, order, wait_until

CLIENTS = 500


def requests() -> list[bytes]:
    """Return the requests of the clients: slow reads, complete writes, and half of a write."""
    sent = []
    for number in range(CLIENTS):
        body = json.dumps(order(new_reference())).encode()
        head = (
            b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        if number % 5 == 0:
            sent.append(head % len(body) + body)
        elif number % 5 == 1:
            sent.append(head % len(body) + body[:20])
        else:
            sent.append(b"GET /probe/hold?seconds=0.1 HTTP/1.1\r\nHost: x\r\n\r\n")
    return sent


async def leave(port: int, request: bytes, number: int) -> None:
    """Send a request and disconnect, alternately with a reset and a normal close."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(number % 10 / 50)
    if number % 2:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def crowd(port: int) -> None:
    """Run all clients, a hundred at a time."""
    at_once = asyncio.Semaphore(100)

    async def one(number: int, request: bytes) -> None:
        async with at_once:
            await leave(port, request, number)

    await asyncio.gather(*(one(number, request) for number, request in enumerate(requests())))


@with_database
def test_disconnecting_clients(project: Project, own_store: Store) -> None:
    """After clients disconnect, database connections return to the pool and the service works."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        asyncio.run(crowd(service.port))
        wait_until(lambda: len(served(service)) >= CLIENTS, "every request has its line")
        wait_until(lambda: checked_out(service) == 0, "no connection is taken")
        if isinstance(own_store, ServerStore):
            assert in_transaction(own_store) == 0
        assert not service.events(level="error")
        # A complete order is stored once. A partial order is not stored.
        statuses = [event["status"] for event in served(service) if event["method"] == "POST"]
        assert statuses.count(201) == own_store.scalar("SELECT count(*) FROM orders")
        assert set(statuses) <= {201, 400, 499, 503}
        assert statuses.count(400) + statuses.count(499) >= CLIENTS // 5
        assert service.create_order("after").status_code == 201


def served(service: Service) -> list[dict[str, object]]:
    """Return the access log lines of the clients' requests."""
    return [event for event in service.events(event="request") if event["route"] not in {"/health", "/probe/pool"}]


def checked_out(service: Service) -> int:
    """Return the number of connections in use."""
    number: int = service.request("GET", "/probe/pool").json()["checked_out"]
    return number


def in_transaction(store: ServerStore) -> int:
    """Return the number of connections that the server sees in a transaction."""
    if store.server.kind == "postgresql":
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        return store.scalar(query) or 0
    query = (
        "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p"
        " ON p.id = t.trx_mysql_thread_id WHERE p.db = database()"
    )
    return store.scalar(query) or 0
