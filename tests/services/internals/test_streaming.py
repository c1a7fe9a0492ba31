"""Server-sent events, exports, and how streamed responses end."""

import asyncio
import csv
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from uuid import uuid4

import pytest
from pydantic import BaseModel
from starlette.types import Message, Scope

from app.core.errors import UnavailableError
from app.core.http.exports import csv_response
from app.core.http.streaming import StreamedResponse
from app.core.realtime.events import EventStream
from app.settings import Settings

from .parts import LISTENER, OWNER, with_users


class Moved(BaseModel):
    """What the events of these tests tell."""

    place: str


@pytest.fixture
def events() -> EventStream:
    """Return a stream that keeps three events, and sends no heartbeat meanwhile."""
    return EventStream(buffer_size=3, heartbeat_seconds=60)


def publish(events: EventStream, *places: str) -> None:
    """Tell of something."""
    for place in places:
        events.publish("moved", Moved(place=place), **OWNER)


def listen(events: EventStream, last_event_id: str | None = None) -> AsyncGenerator[bytes]:
    """Listen to everything."""
    return events.listen(last_event_id, **LISTENER)


async def hear(listener: AsyncGenerator[bytes]) -> dict[str, str]:
    """Return the fields of the next message."""
    message = (await anext(listener)).decode()
    assert message.endswith("\n\n")
    return dict(line.split(": ", 1) for line in message.splitlines() if line)


async def start(events: EventStream, last_event_id: str | None = None) -> AsyncGenerator[bytes]:
    """Return a listener that has got the message at the start."""
    listener = listen(events, last_event_id)
    await anext(listener)
    return listener


async def test_listener_hears_what_happens(events: EventStream) -> None:
    """What comes after the start is told, in order, each with an id of its own."""
    publish(events, "before")
    listener = listen(events)
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


async def test_returning_listener_goes_on_where_it_was(events: EventStream) -> None:
    """Who heard nothing before the connection broke knows the place, too."""
    last_id = (await hear(listen(events)))["id"]
    publish(events, "a", "b", "c")
    for expected in ["a", "b", "c"]:
        event = await hear(await start(events, last_id))
        assert expected in event["data"]
        last_id = event["id"]


@pytest.mark.parametrize("last_id", ["", "-", "nonsense", "0123456789ab-1", "{own}-9", "{own}-"])
async def test_listener_from_elsewhere_has_missed_something(events: EventStream, last_id: str) -> None:
    """The id of another process, of another time or of nobody is told as such, once."""
    publish(events, "a")
    own_id = (await hear(listen(events)))["id"].partition("-")[0]
    listener = await start(events, last_id.format(own=own_id))
    assert (await hear(listener))["event"] == "missed"
    publish(events, "b")
    assert "b" in (await hear(listener))["data"]


async def test_listener_away_for_too_long_has_missed_something(events: EventStream) -> None:
    """What is not kept any more cannot be made up for; neither for one that reads too slowly."""
    slow = listen(events)
    last_id = (await hear(slow))["id"]
    publish(events, "a", "b", "c", "d")
    for listener in [slow, await start(events, last_id)]:
        missed = await hear(listener)
        assert missed["event"] == "missed"
        publish(events, "e")
        assert "e" in (await hear(listener))["data"]
        assert "e" in (await hear(await start(events, missed["id"])))["data"]


async def test_silence_is_broken(events: EventStream) -> None:
    """A heartbeat is no event, and brings the id up to date."""
    events = EventStream(buffer_size=3, heartbeat_seconds=0.01)
    listener = listen(events)
    started = await hear(listener)
    assert await hear(listener) == {"": "", "id": started["id"]}


async def test_closing_ends_every_listener(events: EventStream) -> None:
    """A listener hears what it has not heard yet, and then the end."""
    waiting, late = await start(events), await start(events)
    end = asyncio.create_task(anext(waiting, b"end"))
    await asyncio.sleep(0)
    await events.close()
    assert await end == b"end"
    publish(events, "a")
    assert "a" in (await hear(late))["data"]
    assert [message async for message in late] == []
    assert [message async for message in listen(events)] == []


@with_users
async def test_listener_hears_of_what_is_its_own() -> None:
    """Another's events are kept from it; and they keep no heartbeat from it."""
    events = EventStream(buffer_size=3, heartbeat_seconds=0.05)
    mine, other = uuid4(), uuid4()
    listener = events.listen(None, **{**LISTENER, "owner_id": mine})
    await hear(listener)
    events.publish("moved", Moved(place="a"), owner_id=other)
    events.publish("moved", Moved(place="b"), owner_id=None)
    events.publish("moved", Moved(place="c"), owner_id=mine)
    assert "c" in (await hear(listener))["data"]
    waiting = asyncio.create_task(hear(listener))
    while not waiting.done():
        events.publish("moved", Moved(place="d"), owner_id=other)
        await asyncio.sleep(0.001)
    assert "event" not in await waiting


@with_users
async def test_listener_s_time_runs_out(events: EventStream) -> None:
    """A listener ends when it may not listen any longer."""
    listener = events.listen(None, **{**LISTENER, "seconds": 0.01})
    assert len([message async for message in listener]) == 1


async def respond(response: StreamedResponse, *, stuck_at: int | None = None) -> list[Message]:
    """Return what a response sends to a client that may stop reading."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        if len(sent) == stuck_at:
            await asyncio.Event().wait()
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope: Scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    await response(scope, receive, send)
    return sent


class Source:
    """Chunks for a response, and whether it has closed them.

    Args:
        chunks: The chunks; an error is raised, and `None` never comes.
    """

    def __init__(self, *chunks: bytes | Exception | None) -> None:
        self._chunks = chunks
        self.closed = False

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield the chunks."""
        try:
            for chunk in self._chunks:
                if chunk is None:
                    await asyncio.Event().wait()
                elif isinstance(chunk, Exception):
                    raise chunk
                else:
                    yield chunk
        finally:
            self.closed = True

    def response(self) -> StreamedResponse:
        """Return a response of these chunks that is soon out of patience."""
        return StreamedResponse(
            self.read(),
            step_seconds=0.05,
            headers={},
            media_type="text/plain",
        )


@pytest.mark.parametrize("chunks", [(), (b"a", b"b")])
async def test_complete_response(chunks: Sequence[bytes]) -> None:
    """Every chunk is sent, and the end is told."""
    source = Source(*chunks)
    sent = await respond(source.response())
    assert [message["body"] for message in sent[1:]] == [*chunks, b""]
    assert not sent[-1]["more_body"]
    assert source.closed


@pytest.mark.parametrize("fault", [UnavailableError(), None])
async def test_failure_before_the_first_chunk(fault: Exception | None) -> None:
    """The client can still be told in good order."""
    source = Source(fault)
    with pytest.raises(UnavailableError):
        await respond(source.response())
    assert source.closed


@pytest.mark.parametrize("fault", [UnavailableError(), None])
async def test_failure_after_the_first_chunk(fault: Exception | None) -> None:
    """The response is left unfinished, so that nobody takes it for the whole."""
    source = Source(b"a", fault)
    sent = await respond(source.response())
    assert len(sent) == 2
    assert sent[-1]["more_body"]
    assert source.closed


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
async def test_client_that_stops_reading_is_cut_off(stuck_at: int) -> None:
    """A client that takes nothing for too long does not hold what is behind the response."""
    source = Source(b"a", b"b", b"c")
    assert len(await respond(source.response(), stuck_at=stuck_at)) == stuck_at
    assert source.closed


async def test_response_that_lasts_too_long_is_cut_off() -> None:
    """However busy a client keeps it, a response with a limit ends."""

    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield b"a"
            await asyncio.sleep(0.001)

    response = StreamedResponse(endless(), step_seconds=60, timeout_seconds=0.05, headers={}, media_type="text/plain")
    assert (await respond(response))[-1]["more_body"]


async def export(settings: Settings, *batches: Iterable[Sequence[object]]) -> list[list[str]]:
    """Return the rows of an export of a table with two columns."""

    async def rows() -> AsyncGenerator[Iterable[Sequence[object]]]:
        for batch in batches:
            yield batch

    sent = await respond(csv_response("table.csv", ["a", "b"], rows(), settings))
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == b"text/csv; charset=utf-8"
    assert headers[b"content-disposition"] == b'attachment; filename="table.csv"'
    text = b"".join(message["body"] for message in sent[1:]).decode()
    return list(csv.reader(StringIO(text, newline="")))


async def test_export_has_every_row(settings: Settings) -> None:
    """Batches become one table; without any, the names of the columns are left."""
    assert await export(settings) == [["a", "b"]]
    table = await export(settings, [(1, 2), (3, 4)], [], [(5, 6)])
    assert table == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]


async def test_export_keeps_values(settings: Settings) -> None:
    """Texts come back as they were, numbers keep their sign, times are UTC."""
    time = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=5)))
    rows: list[tuple[object, object]] = [
        ('Jörg "李" 🧾, Ltd.', "two\nlines"),
        (Decimal("-0.10"), None),
        (time, True),
    ]
    assert (await export(settings, rows))[1:] == [
        ['Jörg "李" 🧾, Ltd.', "two\nlines"],
        ["-0.10", ""],
        ["2030-01-31T07:00:00.000Z", "True"],
    ]


@pytest.mark.parametrize("character", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
async def test_export_holds_no_formula(settings: Settings, character: str) -> None:
    """What a spreadsheet would run is marked as text, whatever it takes for the end of a cell."""
    formula = f"{character}1+1"
    [_, row] = await export(settings, [(formula, f"1{character}1", f"x;{formula}|{formula}")])
    assert row == [f"'{formula}", f"1{character}1", f"x;'{formula}|'{formula}"]
