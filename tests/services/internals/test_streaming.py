"""Server-sent events, exports, and clients that stop reading."""

import asyncio
import csv
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from fastapi import FastAPI, Response
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.core.errors import UnavailableError
from app.core.http.exports import csv_response
from app.core.http.middleware.send_timeout import SendTimeoutMiddleware
from app.core.realtime.events import EventStream

T = TypeVar("T")

PATIENCE_SECONDS = 10
SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": None}


class Moved(BaseModel):
    """The data of the events."""

    place: str


@pytest.fixture
def events() -> EventStream:
    """Return a stream that keeps three events, and sends no heartbeat meanwhile."""
    return EventStream(buffer_size=3, heartbeat_seconds=60)


def publish(events: EventStream, *places: str) -> None:
    """Publish an event for each place."""
    for place in places:
        events.publish("moved", Moved(place=place))


async def publish_to_others(events: EventStream) -> None:
    """Publish events of a stranger without end."""
    while True:
        events.publish("moved", Moved(place="a"), owner_id=uuid4())
        await asyncio.sleep(0.001)


async def hear(listener: AsyncIterator[bytes]) -> dict[str, str]:
    """Return the fields of the next message."""
    message = (await asyncio.wait_for(anext(listener), PATIENCE_SECONDS)).decode()
    assert message.endswith("\n\n")
    return dict(line.split(": ", 1) for line in message.splitlines() if line)


async def start(events: EventStream, last_event_id: str | None = None) -> AsyncIterator[bytes]:
    """Return a listener that has got the message at the start."""
    listener = events.listen(last_event_id)
    assert (await hear(listener))["retry"] == "2000"
    return listener


class TestEvents:
    """What a listener gets, and until when."""

    async def test_order(self, events: EventStream) -> None:
        """A listener gets what comes after its start, in order, each with an id of its own."""
        publish(events, "before")
        listener = events.listen(None)
        ids = [(await hear(listener))["id"]]
        waiting = asyncio.create_task(hear(listener))
        await asyncio.sleep(0)
        publish(events, "a\nb", "c")
        heard = [await waiting, await hear(listener)]
        assert [(event["event"], event["data"]) for event in heard] == [
            ("moved", '{"place":"a\\nb"}'),
            ("moved", '{"place":"c"}'),
        ]
        assert len({*ids, *(event["id"] for event in heard)}) == 3

    async def test_reconnection(self, events: EventStream) -> None:
        """A listener resumes after its last event, also if it had not received any before the connection broke."""
        last_id = (await hear(events.listen(None)))["id"]
        publish(events, "a", "b", "c")
        for expected in ["a", "b", "c"]:
            event = await hear(await start(events, last_id))
            assert event["data"] == f'{{"place":"{expected}"}}'
            last_id = event["id"]

    @pytest.mark.parametrize(
        "last_id", ["", "-", "nonsense", "0123456789ab-1", "{own}-9", "{own}-", "{own}--1", "{own}-" + "1" * 5000]
    )
    async def test_unknown_id(self, events: EventStream, last_id: str) -> None:
        """An id that no event of this process has is answered with `missed`, once."""
        publish(events, "a")
        own_id = (await hear(events.listen(None)))["id"].partition("-")[0]
        listener = await start(events, last_id.format(own=own_id))
        missed = await hear(listener)
        assert (missed["event"], missed["data"]) == ("missed", "{}")
        publish(events, "b")
        assert (await hear(listener))["data"] == '{"place":"b"}'

    async def test_overwritten_events(self, events: EventStream) -> None:
        """A listener that was away for too long, or reads too slowly, gets `missed` and what comes after it."""
        slow = events.listen(None)
        last_id = (await hear(slow))["id"]
        publish(events, "a", "b", "c", "d")
        for listener in [slow, await start(events, last_id)]:
            missed = await hear(listener)
            assert missed["event"] == "missed"
            publish(events, "e")
            assert (await hear(listener))["data"] == '{"place":"e"}'
            assert (await hear(await start(events, missed["id"])))["data"] == '{"place":"e"}'

    async def test_heartbeat(self) -> None:
        """An idle listener gets heartbeats, and so does one that others' events keep awake. They update its id."""
        events = EventStream(buffer_size=3, heartbeat_seconds=0.01)
        listener = events.listen(None, owner_id=uuid4())
        started = await hear(listener)
        assert await hear(listener) == {"": "", "id": started["id"]}
        busy = asyncio.create_task(publish_to_others(events))
        while (beat := await hear(listener))["id"] == started["id"]:
            pass
        assert set(beat) == {"", "id"}
        busy.cancel()

    async def test_close(self, events: EventStream) -> None:
        """Closing ends a listener once it has received everything, and every later one."""
        waiting, late = await start(events), await start(events)
        end = asyncio.ensure_future(anext(waiting, None))
        await asyncio.sleep(0)
        await events.close()
        assert await asyncio.wait_for(end, PATIENCE_SECONDS) is None
        publish(events, "a")
        assert (await hear(late))["data"] == '{"place":"a"}'
        assert [message async for message in late] == []
        assert [message async for message in await start(events)] == []

    async def test_owner(self, events: EventStream) -> None:
        """A listener with an owner gets the events of that owner only."""
        own, other = uuid4(), uuid4()
        listener = events.listen(None, owner_id=own)
        await hear(listener)
        events.publish("moved", Moved(place="a"), owner_id=other)
        events.publish("moved", Moved(place="b"))
        events.publish("moved", Moved(place="c"), owner_id=own)
        assert (await hear(listener))["data"] == '{"place":"c"}'

    async def test_time(self, events: EventStream) -> None:
        """A listener ends when its time is over, also while others' events keep it awake."""
        busy = asyncio.create_task(publish_to_others(events))
        listener = events.listen(None, owner_id=uuid4(), seconds=0.05)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert len([message async for message in listener]) == 1
        busy.cancel()


class Client:
    """A client of an application that may stop reading, or leave.

    Args:
        stuck_at: The number of the message that it does not take.

    Attributes:
        sent: What it has taken.
        has_some: Set once it has taken ten messages.
        left: Set when it leaves.
    """

    def __init__(self, stuck_at: int | None = None) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.has_some = asyncio.Event()
        self._stuck_at = stuck_at

    async def send(self, message: Message) -> None:
        """Take a message."""
        if len(self.sent) == self._stuck_at:
            await asyncio.Event().wait()
        self.sent.append(message)
        if len(self.sent) == 10:
            self.has_some.set()

    async def receive(self) -> Message:
        """Return when the client leaves."""
        await self.left.wait()
        return {"type": "http.disconnect"}


def streams() -> FastAPI:
    """Return an application that streams without end."""
    app = FastAPI()

    async def repeat(part: T) -> AsyncIterator[T]:
        while True:
            yield part
            await asyncio.sleep(0)

    @app.get("/events")
    async def listen() -> Response:
        return EventSourceResponse(repeat(b": x"))

    @app.get("/export")
    async def export() -> Response:
        return await csv_response("a.csv", ["a"], repeat([[1]]))

    return app


async def no_task_is_left(before: set[asyncio.Task[Any]]) -> None:
    """Fail if a further task does not end. Python closes an abandoned generator in a task of its own."""
    left = asyncio.all_tasks() - before
    await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), PATIENCE_SECONDS)


class TestSendTimeout:
    """A client that stops reading is cut off."""

    @pytest.mark.parametrize("path", ["/events", "/export"])
    @pytest.mark.parametrize("stuck_at", [0, 1, 2])
    async def test_client_that_stops_reading(self, path: str, stuck_at: int) -> None:
        """The response ends without its last part, no task is left, and there is one warning."""
        client = Client(stuck_at)
        before = asyncio.all_tasks()
        served = SendTimeoutMiddleware(streams(), seconds=0.05)
        with capture_logs() as logs:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await served({**SCOPE, "path": path}, client.receive, client.send)
        assert len(client.sent) == stuck_at
        assert [(line["event"], line["log_level"]) for line in logs] == [("stream_broken_off", "warning")]
        await no_task_is_left(before)

    @pytest.mark.parametrize("path", ["/events", "/export"])
    async def test_client_that_leaves(self, path: str) -> None:
        """The response ends, and no task is left."""
        client = Client()
        before = asyncio.all_tasks()
        served = SendTimeoutMiddleware(streams(), seconds=60)
        serving = asyncio.create_task(served({**SCOPE, "path": path}, client.receive, client.send))
        await asyncio.wait_for(client.has_some.wait(), PATIENCE_SECONDS)
        client.left.set()
        await asyncio.wait_for(serving, PATIENCE_SECONDS)
        await no_task_is_left(before)

    async def test_other_time_outs(self) -> None:
        """A time-out of the application is its own error."""

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            raise TimeoutError

        client = Client()
        with pytest.raises(TimeoutError):
            await SendTimeoutMiddleware(app, seconds=60)(SCOPE, client.receive, client.send)


async def send(response: StreamingResponse) -> list[Message]:
    """Return what a response sends."""
    client = Client()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await response(SCOPE, client.receive, client.send)
    return client.sent


async def export(*batches: Iterable[Sequence[object]] | Exception) -> StreamingResponse:
    """Return an export of a table with two columns; an error fails its batch."""

    async def rows() -> AsyncIterator[Iterable[Sequence[object]]]:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch

    return await csv_response("table.csv", ["a", "b"], rows())


async def table(*batches: Iterable[Sequence[object]]) -> list[list[str]]:
    """Return the rows of an export."""
    sent = await send(await export(*batches))
    assert sent[-1]["more_body"] is False
    text = b"".join(message["body"] for message in sent[1:]).decode()
    return list(csv.reader(StringIO(text, newline="")))


class TestExport:
    """What is in a file, and how its transfer fails."""

    async def test_head(self) -> None:
        """The response names the file and its type."""
        headers = (await export()).headers
        assert headers["content-type"] == "text/csv; charset=utf-8"
        assert headers["content-disposition"] == 'attachment; filename="table.csv"'

    async def test_rows(self) -> None:
        """Batches become one table. Without any, it has the names of the columns."""
        assert await table() == [["a", "b"]]
        rows = await table([(1, 2), (3, 4)], [], [(5, 6)])
        assert rows == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]

    async def test_values(self) -> None:
        """Texts come back as they were, numbers keep their sign, times are UTC."""
        time = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=5)))
        rows: list[tuple[object, object]] = [
            ('Jörg "李" 🧾, Ltd.', "two\nlines"),
            (Decimal("-0.10"), None),
            (time, True),
        ]
        assert (await table(rows))[1:] == [
            ['Jörg "李" 🧾, Ltd.', "two\nlines"],
            ["-0.10", ""],
            ["2030-01-31T07:00:00.000Z", "True"],
        ]

    @pytest.mark.parametrize("character", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    async def test_formula(self, character: str) -> None:
        """What a spreadsheet would run is marked as text, whatever it takes for the end of a cell."""
        formula = f"{character}1+1"
        [_, row] = await table([(formula, f"1{character}1", f"x;{formula}|{formula}")])
        assert row == [f"'{formula}", f"1{character}1", f"x;'{formula}|'{formula}"]

    async def test_failure_before_the_first_row(self) -> None:
        """The response has not started, so the client can get an error."""
        with pytest.raises(UnavailableError):
            await export(UnavailableError())

    async def test_later_failure(self) -> None:
        """The response is left unfinished, so that no client takes a part for the whole."""
        response, client = await export([(1, 2)], UnavailableError()), Client()
        with pytest.raises(UnavailableError):
            await response(SCOPE, client.receive, client.send)
        assert client.sent[-1]["more_body"]
