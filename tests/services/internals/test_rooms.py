"""Rooms, and the middleware of WebSockets."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from fastapi import WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from app.core.http.error_handlers import MEDIA_TYPE
from app.core.realtime import rooms as rooms_module
from app.core.realtime.rooms import Rooms
from app.main import create_app
from app.settings import Settings
from tests.conftest import State, serve

from .peers import open_socket


def room_app(rooms: Rooms) -> ASGIApp:
    """Return an application with a room at every path. Each message goes to all members."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        room = scope["path"]
        async with rooms.join(room, websocket) as member:
            async for text in member.said():
                if text == "fail":
                    raise TimeoutError
                rooms.say(room, text)

    return app


class TestRooms:
    """Messages, slow consumers and the end of a stay."""

    async def test_message_reaches_the_room_alone(self) -> None:
        """All members of the room receive it, the sender included. Other rooms do not."""
        app = room_app(Rooms(10))
        async with (
            open_socket(app, "/a") as first,
            open_socket(app, "/a") as second,
            open_socket(app, "/b") as stranger,
        ):
            first.say("to a")
            stranger.say("to b")
            assert [await first.hears(), await second.hears()] == ["to a", "to a"]
            assert await stranger.hears() == "to b"

    async def test_burst_drops_nobody(self) -> None:
        """Members that read receive a whole burst, however short their queues are."""
        app = room_app(Rooms(3))
        async with open_socket(app, "/a") as speaker, open_socket(app, "/a") as listener:
            words = [str(number) for number in range(50)]
            for word in words:
                speaker.say(word)
            assert [await listener.hears() for _ in words] == words
            assert [await speaker.hears() for _ in words] == words

    @pytest.mark.parametrize(("peers", "queue_size"), [(8, 10), (10, 10), (2, 100)])
    async def test_bursts_of_all_drop_nobody(self, peers: int, queue_size: int) -> None:
        """Members that read receive everything, even if all send at once."""
        app = room_app(Rooms(queue_size))
        async with AsyncExitStack() as stack:
            room = [await stack.enter_async_context(open_socket(app, "/a")) for _ in range(peers)]
            for peer in room:
                for number in range(10):
                    peer.say(str(number))
            for peer in room:
                heard = [await peer.hears() for _ in range(10 * peers)]
                assert sorted(heard) == sorted([str(number) for number in range(10)] * peers)

    async def test_bursts_into_another_room_drop_nobody(self) -> None:
        """A handler may send more messages than it receives."""
        rooms = Rooms(10)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            websocket = WebSocket(scope, receive, send)
            join = rooms.join(scope["path"], websocket)
            async with join as member:
                async for text in member.said():
                    rooms.say("/all", text)
                    rooms.say("/all", text)

        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(open_socket(app, "/all"))
            for number in range(11):
                speaker = await stack.enter_async_context(open_socket(app, f"/{number}"))
                for _ in range(10):
                    speaker.say(str(number))
            heard = [await listener.hears() for _ in range(220)]
            assert sorted(heard) == sorted([str(number) for number in range(11)] * 20)

    async def test_peer_that_does_not_read_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The others receive every message at once. The slow consumer gets the reason, if it reads again."""
        monkeypatch.setattr(rooms_module, "CLOSE_SECONDS", 60)
        app = room_app(Rooms(3))
        async with open_socket(app, "/a") as speaker, open_socket(app, "/a") as stuck:
            stuck.reads.clear()
            for number in range(10):
                speaker.say(str(number))
                assert await speaker.hears() == str(number)
            stuck.reads.set()
            assert await stuck.close_code() == 1013

    async def test_peer_that_never_reads_again_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The handler ends, even if the peer does not read the close frame."""
        monkeypatch.setattr(rooms_module, "CLOSE_SECONDS", 0.01)
        rooms = Rooms(1)
        async with open_socket(room_app(rooms), "/a") as stuck:
            stuck.reads.clear()
            for _ in range(20):
                stuck.say("hello")
            await stuck.is_let_go()
            assert not rooms._members

    async def test_bytes_are_refused(self) -> None:
        """Rooms take text messages only."""
        async with open_socket(room_app(Rooms(10)), "/a") as peer:
            peer.say(b"hello")
            assert await peer.close_code() == 1003

    async def test_nothing_is_left_of_an_empty_room(self) -> None:
        """An empty room leaves no member and no task."""
        rooms = Rooms(10)
        before = asyncio.all_tasks()
        async with open_socket(room_app(rooms), "/a"), open_socket(room_app(rooms), "/a"):
            assert len(rooms._members["/a"]) == 2
        await asyncio.sleep(0)
        assert not rooms._members
        assert asyncio.all_tasks() <= before

    async def test_stop_sends_everybody_away(self) -> None:
        """A stop closes all connections, and those that arrive later."""
        rooms = Rooms(10)
        async with open_socket(room_app(rooms), "/a") as peer:
            await asyncio.wait_for(rooms.close(), timeout=10)
            assert await peer.close_code() == 1001
        async with open_socket(room_app(rooms), "/a") as late:
            assert await late.close_code() == 1001

    async def test_time_out_of_the_handler_is_its_own(self) -> None:
        """A timeout inside the handler is not the end of a stay."""
        with pytest.raises(TimeoutError):
            async with open_socket(room_app(Rooms(10)), "/a") as peer:
                peer.say("fail")

    async def test_stay_ends_in_time(self) -> None:
        """A connection is closed when its sign-in expires."""
        rooms = Rooms(10)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            websocket = WebSocket(scope, receive, send)
            async with rooms.join("a", websocket, protocol="bearer", seconds=0.01) as member:
                async for _ in member.said():
                    pass

        async with open_socket(app, "/a", protocols=["bearer"]) as peer:
            assert peer.answer["subprotocol"] == "bearer"
            assert await peer.close_code() == 3000


class TestHandshake:
    """The middleware of a WebSocket, before and after it is accepted."""

    @pytest.fixture
    def make_app(self, settings: Settings, state: State) -> Callable[..., ASGIApp]:
        """Return a function that builds an application whose WebSockets fail."""

        def make(**update: object) -> ASGIApp:
            app = create_app(settings.model_copy(update=update))

            @app.websocket("/talk")
            async def talk(websocket: WebSocket, number: int = 0) -> None:
                await websocket.accept()
                await websocket.send_text(str(number))
                await websocket.receive_text()
                raise ValueError("wrong")

            @app.websocket("/fail")
            async def fail(websocket: WebSocket) -> None:
                raise ValueError("wrong")

            @app.websocket("/refuse")
            async def refuse(websocket: WebSocket) -> None:
                await websocket.close()

            return serve(app, state)

        return make

    @pytest.mark.parametrize(
        ("url", "headers", "status", "code"),
        [
            ("/nowhere", {}, 404, "not_found"),
            ("/talk?number=one", {}, 422, "validation_error"),
            ("/refuse", {}, 403, "forbidden"),
            ("/fail", {}, 500, "internal_error"),
            ("/talk", {"host": "a.example", "origin": "https://b.example"}, 403, "forbidden"),
            ("/talk", {"host": "a.example", "origin": "null"}, 403, "forbidden"),
        ],
    )
    async def test_refusal_has_the_uniform_shape(
        self,
        make_app: Callable[..., ASGIApp],
        url: str,
        headers: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        """A refused WebSocket gets the uniform error before it is accepted."""
        app = make_app(allowed_hosts=["a.example"])
        id_header = {"host": "a.example", "x-request-id": "caller-0123456789"}
        async with open_socket(app, url, headers=id_header | headers) as peer:
            answer = dict(peer.answer["headers"])
            assert answer[b"content-type"] == MEDIA_TYPE.encode()
            assert answer[b"x-request-id"] == b"caller-0123456789"
            got, body = await peer.refusal()
            assert got == status
            assert f'"code":"{code}"' in body
            assert '"request_id":"caller-0123456789"' in body

    @pytest.mark.parametrize(
        ("origin", "listed"),
        [
            ("https://A.example:8000", []),
            ("https://b.example", ["https://b.example"]),
            ("https://c.example", ["*"]),
        ],
    )
    async def test_page_of_the_host_or_of_a_listed_origin_may_connect(
        self, make_app: Callable[..., ASGIApp], origin: str, listed: list[str]
    ) -> None:
        """Pages of the host and of listed origins may connect."""
        app = make_app(cors_origins=listed)
        headers = {"host": "a.example:8000", "origin": origin}
        async with open_socket(app, "/talk?number=1", headers=headers) as peer:
            assert await peer.hears() == "1"

    async def test_unhandled_error_ends_the_connection(self, make_app: Callable[..., ASGIApp]) -> None:
        """The error is logged once, and the peer gets no details."""
        app = make_app()
        with capture_logs() as logs:
            async with open_socket(app, "/talk") as peer:
                assert await peer.hears() == "0"
                peer.say("hello")
                assert await peer.close_code() == 1011
        assert [entry["event"] for entry in logs] == ["unhandled_error", "request"]

    async def test_peer_that_leaves_is_no_error(self, make_app: Callable[..., ASGIApp]) -> None:
        """A handler does not have to catch a disconnect."""
        app = make_app()
        with capture_logs() as logs:
            async with open_socket(app, "/talk") as peer:
                peer.leave()
        assert [entry["event"] for entry in logs] == ["request"]

    async def test_ended_connection_gets_a_line_in_the_log(
        self, make_app: Callable[..., ASGIApp], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The line has the route, and not the query, which may contain a secret."""
        app = make_app(log_format="json")
        async with open_socket(app, "/talk?number=4711"):
            assert not capsys.readouterr().out
        [line] = capsys.readouterr().out.splitlines()
        assert '"method": "WEBSOCKET", "route": "/talk", "status": 101' in line
        assert "4711" not in line
