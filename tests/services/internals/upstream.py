"""Another service on a real socket. A test sets its responses."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

# Instead of a response: read the request, and send nothing.
SILENCE = b"silence"
# Instead of a response: send one byte by byte, and never finish.
TRICKLE = b"trickle"
# Instead of a response: close the connection.
HANG_UP = b""


@dataclass(frozen=True)
class Received:
    """A request that has arrived."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass
class Upstream:
    """The other service.

    Attributes:
        url: Where it is.
        answers: What it answers, one after the other; the last stays.
        received: What it was asked.
        connections: Those it has now.
        peak: How many it had at once.
    """

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    peak: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends."""
        self.connections.add(writer)
        self.peak = max(self.peak, len(self.connections))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while answer := await self._answer(reader):
                    if answer == SILENCE:
                        await reader.read()
                        break
                    if answer == TRICKLE:
                        await _trickle(reader, writer)
                        break
                    writer.write(answer)
                    await writer.drain()
        finally:
            writer.close()
            self.connections.remove(writer)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().strip()
        line, *fields = head.split("\r\n")
        method, target, _ = line.split()
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.received.append(Received(method, target, headers))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """Return a response as bytes. Write the names of headers with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} .", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + content


@asynccontextmanager
async def open_upstream() -> AsyncIterator[Upstream]:
    """Run another service until the end of the block."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    upstream.url = f"http://{host}:{port}"
    async with server:
        try:
            yield upstream
        finally:
            # Connections that are being opened arrive, so that none is left when the loop is closed.
            await asyncio.sleep(0.01)
            server.close()
            async with asyncio.timeout(10):
                while upstream.connections:
                    for writer in upstream.connections:
                        writer.close()
                    await asyncio.sleep(0.01)
