"""Generate load over blocking sockets, which needs no package and little processor time."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack

CONNECTIONS = 32


class LoadError(Exception):
    """Raised when the server returns another status than 200."""


class Load:
    """Keeps a number of requests in flight on connections that stay open.

    Each connection in turn receives a response and sends the next request. So all connections but one always have a
    request in flight, and a server that answers in about the order of its requests is never idle.

    Args:
        port: Where the server listens.
        path: The path to request.
        headers: The headers of each request, besides its host.
    """

    def __init__(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        self._address = ("127.0.0.1", port)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._request = "\r\n".join([*lines, f"Host: 127.0.0.1:{port}", "", ""]).encode()

    def run(self, count: int) -> None:
        """Send requests, and wait for every response.

        Args:
            count: How many.

        Raises:
            LoadError: The server returned another status than 200.
        """
        with ExitStack() as stack:
            connections = [stack.enter_context(socket.create_connection(self._address)) for _ in range(CONNECTIONS)]
            for connection in connections:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(self._request)
            for number in range(CONNECTIONS, count):
                connection = connections[number % CONNECTIONS]
                _receive(connection)
                connection.sendall(self._request)
            for connection in connections:
                _receive(connection)


def _receive(connection: socket.socket) -> None:
    data = connection.recv(65536)
    while not _complete(data):
        more = connection.recv(65536)
        if not more:
            raise LoadError(f"the server closed a connection after {data[:200]!r}")
        data += more
    if not data.startswith(b"HTTP/1.1 200"):
        raise LoadError(f"the server answered {data[:200]!r}")


def _complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    _, _, length = head.lower().partition(b"content-length: ")
    return len(body) >= int(length.partition(b"\r\n")[0])
