"""Rooms on a running service: delivery, disconnects, permissions and the shutdown."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from tests.services.behaviour.conftest import ORIGIN
from tests.services.behaviour.sockets import (
    alive,
    break_off,
    close_code,
    crowd,
    enter,
    hear,
    many_files,
    new_room,
    refusal,
    remark,
    sign_in,
)
from tests.services.behaviour.variants import once_with_rooms, with_rooms, with_rooms_and_auth
from tests.services.running import PATIENCE_SECONDS, Project, Service, wait_until

CONNECTIONS = 1000
ROOMS = 50
GROWTH_MEGABYTES = 8
# A client that waits for the slow peer would wait longer, because it is dropped after 8 s at the earliest.
STUCK_SECONDS = 5
PASSWORD = "a phrase that only the tests log in with"
NOWHERE = "/api/v1/orders/01890000-0000-7000-8000-000000000000/room"


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    with many_files():
        yield


@with_rooms
def test_message_reaches_its_room_alone(service: Service) -> None:
    """With a thousand connections in fifty rooms each gets all messages of its own room and no others."""
    rooms = [new_room(service) for _ in range(ROOMS)]
    paths = rooms * (CONNECTIONS // ROOMS)

    async def talk() -> list[list[str]]:
        async with crowd(service, paths) as connections:

            async def listen(connection: ClientConnection) -> list[str]:
                texts = [await hear(connection) for _ in range(CONNECTIONS // ROOMS)]
                return sorted(texts)

            listening = [asyncio.create_task(listen(connection)) for connection in connections]
            for number, connection in enumerate(connections):
                await connection.send(remark(f"from {number:03}"))
            heard = await asyncio.gather(*listening)
            # The next message comes after all others, so none of another room is still on its way.
            for room, connection in zip(rooms, connections, strict=False):
                await connection.send(remark(room))
            for path, connection in zip(paths, connections, strict=True):
                assert await hear(connection) == path
            return heard

    heard = asyncio.run(talk())
    for number, texts in enumerate(heard):
        assert texts == [f"from {speaker:03}" for speaker in range(number % ROOMS, CONNECTIONS, ROOMS)]
    wait_until(lambda: len(conversations(service)) >= CONNECTIONS, "every connection has its line")
    assert {event["status"] for event in conversations(service)} == {101}
    assert not service.events(level="error")


def conversations(service: Service) -> list[dict[str, object]]:
    """Return the access log lines of connections."""
    return service.events(event="request", method="WEBSOCKET")


@once_with_rooms
def test_peer_that_stops_reading(project: Project, settings: dict[str, str]) -> None:
    """A slow peer delays no other one and is dropped from the room and the service, which can stop at once."""
    settings = settings | {"WEBSOCKET_QUEUE_SIZE": "20", "WEBSOCKET_PING_SECONDS": "8", "SHUTDOWN_GRACE_SECONDS": "60"}
    with project.start(settings) as service:
        room = new_room(service)

        async def talk(stuck: socket.socket) -> float:
            loop = asyncio.get_running_loop()
            slowest = 0.0
            text = "x" * 2000
            async with crowd(service, [room] * 10) as connections:
                for _ in range(100_000):
                    for number in range(50):
                        sent = loop.time()
                        await connections[number % 10].send(remark(text))
                        for connection in connections:
                            assert await hear(connection) == text
                        slowest = max(slowest, loop.time() - sent)
                    if alive(service, "Member")[1] == len(connections):
                        return slowest
            raise AssertionError("the peer is not dropped")

        with stop_reading(service, room) as stuck:
            assert asyncio.run(talk(stuck)) < STUCK_SECONDS
            wait_until(partial(none_left, service, "WebSocketsSansIOProtocol"), "its connection is given up")
            service.terminate()
            service.wait(10)
            assert len(service.events(event="stopped")) == 1
            assert not service.events(level="error")


def stop_reading(service: Service, path: str) -> socket.socket:
    """Enter a room and read none of its messages."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection


@once_with_rooms
def test_abrupt_disconnects(project: Project, settings: dict[str, str]) -> None:
    """A thousand peers that disconnect without a close leave no task, connection or memory behind."""
    with project.start(settings) as service:
        rooms = [new_room(service) for _ in range(ROOMS)]
        tasks, _ = alive(service, "Member")

        async def come_and_go() -> None:
            async with crowd(service, rooms * (CONNECTIONS // ROOMS)) as connections:
                assert alive(service, "Member")[1] == CONNECTIONS
                for connection in connections[::2]:
                    await connection.send(remark("The last words."))
                for connection in connections:
                    break_off(connection)

        sizes = []
        for _ in range(3):
            asyncio.run(come_and_go())
            for kind in ["Member", "WebSocket", "WebSocketsSansIOProtocol"]:
                wait_until(partial(none_left, service, kind), f"no {kind} is left")
            assert alive(service, "Member")[0] <= tasks
            sizes.append(megabytes(service))
        # The first connections fill the allocator's pools.
        assert sizes[-1] - sizes[0] < GROWTH_MEGABYTES, sizes
        assert not service.events(level="error")


def none_left(service: Service, kind: str) -> bool:
    """Return whether no object of a class is left."""
    return alive(service, kind)[1] == 0


def megabytes(service: Service) -> float:
    """Return the memory of the service in megabytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@with_rooms
def test_message_that_is_too_large(project: Project, settings: dict[str, str]) -> None:
    """A message that is too large closes its connection with 1009, and others in the room continue."""
    with project.start(settings | {"WEBSOCKET_MAX_BYTES": "5000"}) as service:
        room = new_room(service)

        async def talk() -> None:
            async with crowd(service, [room] * 2) as (loud, other):
                await other.send(remark("x" * 2000))
                assert [len(await hear(connection)) for connection in (loud, other)] == [2000, 2000]
                await loud.send("x" * 5001)
                assert await close_code(loud) == 1009
                await other.send(remark("Peace."))
                assert await hear(other) == "Peace."

        asyncio.run(talk())
        assert not service.events(level="error")


@with_rooms
def test_refused_connections(service: Service) -> None:
    """A refused connection gets the uniform error as its response and a log line."""
    room = new_room(service)
    cases = [
        (NOWHERE, {}, 404, "not_found", "/api/v1/orders/{order_id:uuid}/room"),
        ("/api/v1/nothing", {}, 404, "not_found", None),
        (room, {"origin": "https://evil.example"}, 403, "forbidden", None),
        (room, {"origin": "null"}, 403, "forbidden", None),
    ]
    for path, options, status, code, route in cases:
        response = asyncio.run(refusal(service, path, **options))
        assert service.failure(response, status).code == code
        request_id = response.headers["x-request-id"]
        line = service.wait_for_event(event="request", request_id=request_id)
        assert (line["method"], line["route"], line["status"]) == ("WEBSOCKET", route, status)

    async def talk(origin: str) -> None:
        async with enter(service, room, origin=origin) as connection:
            await connection.send(remark(origin))
            assert await hear(connection) == origin

    for origin in [ORIGIN, service.url]:
        asyncio.run(talk(origin))


@with_rooms_and_auth
def test_room_of_a_user(project: Project, settings: dict[str, str]) -> None:
    """A room requires a user who may see the order, for as long as their token is valid."""
    with project.start(settings | {"ACCESS_TOKEN_SECONDS": "10"}) as service:
        other = sign_in(service, "john@shop.example", PASSWORD)
        token = sign_in(service, "jane@shop.example", PASSWORD)
        room = new_room(service)
        for credentials, status, code in [
            ([], 401, "not_authenticated"),
            (["bearer", "wrong"], 401, "not_authenticated"),
            (["bearer", other], 404, "not_found"),
        ]:
            response = asyncio.run(refusal(service, room, subprotocols=credentials or None))
            assert service.failure(response, status).code == code

        async def talk() -> int | None:
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                enter(service, room, subprotocols=["bearer", token]) as page,
                enter(service, room, additional_headers=headers) as program,
            ):
                assert (page.subprotocol, program.subprotocol) == ("bearer", None)
                await program.send(remark("Is it packed?"))
                assert await hear(page) == "Is it packed?"
                return await close_code(page)

        assert asyncio.run(talk()) == 3000
        assert not any(token in line for line in service.lines)
        assert not service.events(level="error")


@once_with_rooms
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("whole_group", [False, True], ids=["one", "group"])
def test_stop_sends_everybody_away(
    project: Project, settings: dict[str, str], processes: int, number: signal.Signals, *, whole_group: bool
) -> None:
    """At a shutdown every connection is closed with 1001, and none delays the service."""
    settings = settings | {"WEB_CONCURRENCY": str(processes), "SHUTDOWN_GRACE_SECONDS": "60"}
    with project.start(settings) as service:
        wait_until(lambda: len(service.events(event="started")) == processes, "every process is up")
        room = new_room(service)

        async def talk() -> None:
            async with crowd(service, [room] * 40) as connections:
                if whole_group:
                    os.killpg(service.process.pid, number)
                else:
                    service.process.send_signal(number)
                codes = await asyncio.gather(*map(close_code, connections))
                assert codes == [1001] * len(connections)

        asyncio.run(talk())
        service.wait(10)
        assert len(service.events(event="stopped")) == processes
        assert not service.events(level="error")


@once_with_rooms
def test_conversations_go_on_while_the_service_drains(project: Project, settings: dict[str, str]) -> None:
    """Peers are disconnected only after load balancers react, and can connect to another instance at once."""
    with project.start(
        settings | {"ENVIRONMENT": "staging", "DRAIN_DELAY_SECONDS": "2", "KEEP_ALIVE_SECONDS": "1"}
    ) as service:
        room = new_room(service)

        async def talk() -> None:
            async with enter(service, room) as connection:
                service.terminate()
                service.wait_for_event(event="draining")
                await connection.send(remark("Still here?"))
                assert await hear(connection) == "Still here?"
                assert await close_code(connection) == 1001

        asyncio.run(talk())
        service.wait(10)
