"""Measure what it costs to deliver the messages of a room, against a bare loop over the peers."""

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import effort
from figure import Figure, at_least, in_turn, ratios
from processes import Server
from services import Service, make_service

ROUNDS = 3
ROOMS = 10
PEERS = 20
# How many messages are in flight to a peer at a time, and how often.
BURST = 10
BURSTS = 20
MASK = b"\x00\x00\x00\x00"
# The first byte of each kind of frame.
TEXT, PING, PONG = 0x81, 0x89, 0x8A


class RefusedError(Exception):
    """Raised when the server does not accept a connection, or closes it."""


class Peer:
    """A WebSocket over a blocking socket that sends and receives short texts.

    Args:
        connection: A connection that the server has accepted.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def say(self, text: str, times: int) -> None:
        """Send a message several times."""
        data = text.encode()
        self._connection.sendall((bytes([TEXT, 0x80 | len(data)]) + MASK + data) * times)

    def hear(self, count: int) -> None:
        """Wait for a number of messages.

        Raises:
            RefusedError: The server closed the connection.
        """
        data, position = self._unread, 0
        while count:
            while len(data) < position + 2 or len(data) < position + 2 + data[position + 1]:
                more = self._connection.recv(65536)
                if not more:
                    raise RefusedError("the server closed a connection")
                data, position = data[position:] + more, 0
            end = position + 2 + data[position + 1]
            if data[position] == PING:
                self._connection.sendall(bytes([PONG, 0x80 | data[position + 1]]) + MASK + data[position + 2 : end])
            else:
                count -= 1
            position = end
        self._unread = data[position:]


def measure_rooms(scratch: Path) -> list[Figure]:
    """Measure the rooms of a service against bare Starlette."""
    service = make_service(scratch / "rooms", database="none", rate_limit="none", websockets=True)
    started = [_costs(service) for _ in range(effort.times(effort.STARTS))]
    own, bare = ([costs[name] for costs in started] for name in ("service", "bare"))
    rates = [1e6 / median(costs) for costs in (own, bare)]
    details = "messages delivered in a second of CPU: {:,.0f} against {:,.0f}".format(*rates)
    what = f"messages delivered in WebSocket rooms of {PEERS}, against a bare Starlette loop"
    return [at_least(what, ratios(bare, own), 0.70, details)]


def _costs(service: Service) -> dict[str, float]:
    """Start both applications, and return the microseconds of processor time that each needs for a delivery."""
    with ExitStack() as stack:
        own, bare = stack.enter_context(service.start()), stack.enter_context(service.start_bare("rooms"))
        own_rooms = stack.enter_context(_rooms(own, [_new_room(own, number) for number in range(ROOMS)]))
        bare_rooms = stack.enter_context(_rooms(bare, [f"/rooms/{number}" for number in range(ROOMS)]))
        remark = json.dumps({"text": "Is it packed?"})
        # As long as what the service makes of the remark.
        line = json.dumps({"text": "Is it packed?", "sent_at": "2026-11-21T12:00:00.000000Z"}, separators=(",", ":"))
        measures = {"service": partial(_cost, own, own_rooms, remark), "bare": partial(_cost, bare, bare_rooms, line)}
        return {name: median(values) for name, values in in_turn(measures, effort.times(ROUNDS)).items()}


def _cost(server: Server, rooms: Sequence[Sequence[Peer]], text: str) -> float:
    """Return the microseconds of processor time that the delivery of one message takes."""
    bursts = effort.times(BURSTS)
    before = server.cpu_seconds()
    for _ in range(bursts):
        for room in rooms:
            room[0].say(text, BURST)
        for room in rooms:
            for peer in room:
                peer.hear(BURST)
    return (server.cpu_seconds() - before) / (ROOMS * PEERS * BURST * bursts) * 1e6


def _new_room(server: Server, number: int) -> str:
    line = {"sku": "BOLT-8", "quantity": 4, "unit_price": "0.35"}
    order = {"reference": f"A-{number}", "customer": "Jane Doe", "lines": [line]}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/api/v1/orders", json.dumps(order), {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    return f"/api/v1/orders/{answer['id']}/room"


@contextmanager
def _rooms(server: Server, paths: Sequence[str]) -> Iterator[list[list[Peer]]]:
    with ExitStack() as stack:
        yield [[Peer(stack.enter_context(_connect(server.port, path))) for _ in range(PEERS)] for path in paths]


def _connect(port: int, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            raise RefusedError(f"the server answered {answer!r}")
        answer += more
    if not answer.startswith(b"HTTP/1.1 101"):
        raise RefusedError(f"the server answered {answer!r}")
    return connection
