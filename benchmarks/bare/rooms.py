"""Starlette with rooms, as a tutorial has them: a loop that sends to one peer after the other."""

from collections import defaultdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

rooms: dict[str, set[WebSocket]] = defaultdict(set)


async def talk(websocket: WebSocket) -> None:
    """Forward each message to all connections of the room."""
    await websocket.accept()
    room = rooms[websocket.path_params["name"]]
    room.add(websocket)
    try:
        async for text in websocket.iter_text():
            for peer in list(room):
                await peer.send_text(text)
    finally:
        room.discard(websocket)


async def live(_request: Request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/health", live), WebSocketRoute("/rooms/{name}", talk)])
