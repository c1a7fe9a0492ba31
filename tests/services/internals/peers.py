"""The peer of a WebSocket, without a server in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Scope

PATIENCE_SECONDS = 10.0


class Peer:
    """A peer that is connected to the application.

    Args:
        app: The application.
        scope: What the handshake says.

    Attributes:
        answer: How the application answered the handshake.
        reads: Whether it takes what the application sends.
    """

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self.answer: Message = {}
        self.reads = asyncio.Event()
        self.reads.set()
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._sent.put_nowait({"type": "websocket.connect"})
        self._connection = asyncio.ensure_future(app(scope, self._send_on, self._take))

    def say(self, data: str | bytes) -> None:
        """Send a message."""
        kind = "text" if isinstance(data, str) else "bytes"
        self._sent.put_nowait({"type": "websocket.receive", kind: data})

    def leave(self) -> None:
        """Disconnect."""
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def next(self) -> Message:
        """Return what the application sends next."""
        return await asyncio.wait_for(self._received.get(), PATIENCE_SECONDS)

    async def hears(self) -> str:
        """Return the message that the application sends next."""
        message = await self.next()
        assert message["type"] == "websocket.send"
        text: str = message["text"]
        return text

    async def close_code(self) -> int:
        """Return the code that the application closes the connection with."""
        while (message := await self.next())["type"] != "websocket.close":
            pass
        code: int = message["code"]
        return code

    async def refusal(self) -> tuple[int, str]:
        """Return the status and the body of an answer that refuses the handshake."""
        assert self.answer["type"] == "websocket.http.response.start"
        status: int = self.answer["status"]
        return status, (await self.next())["body"].decode()

    async def is_let_go(self) -> None:
        """Return when the application is done with the connection."""
        await asyncio.wait_for(asyncio.shield(self._connection), PATIENCE_SECONDS)

    async def _send_on(self) -> Message:
        return await self._sent.get()

    async def _take(self, message: Message) -> None:
        await self.reads.wait()
        self._received.put_nowait(message)


@asynccontextmanager
async def open_socket(
    app: ASGIApp, url: str, *, headers: dict[str, str] | None = None, protocols: Sequence[str] = ()
) -> AsyncIterator[Peer]:
    """Connect to an application, and disconnect at the end.

    Args:
        app: The application.
        url: Path and query.
        headers: Further headers of the handshake.
        protocols: The subprotocols that the peer offers.
    """
    path, _, query = url.partition("?")
    fields = {"host": "localhost", **(headers or {})}
    scope: Scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "scheme": "ws",
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
        "subprotocols": protocols,
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
        "extensions": {"websocket.http.response": {}},
    }
    peer = Peer(app, scope)
    try:
        peer.answer = await peer.next()
        yield peer
    finally:
        peer.leave()
        peer.reads.set()
        await peer.is_let_go()
