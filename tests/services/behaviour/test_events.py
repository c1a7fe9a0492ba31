"""Server-sent events of a running service: delivery and disconnects."""

import asyncio
import json
import signal
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.services.behaviour.test_failures import DEFERRED_FAULT
from tests.services.behaviour.variants import STREAMING_VARIANTS, once_with_streams, where, with_streams
from tests.services.running import (
    PATIENCE_SECONDS,
    Project,
    Service,
    Store,
    Variant,
    new_reference,
    order,
    wait_until,
)

EVENTS = "/api/v1/orders/events"
REQUEST = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
GROWTH_MEGABYTES = 30

Message = Mapping[str, str]


def read(response: httpx2.Response) -> Iterator[Message]:
    """Yield the messages of a stream until its end."""
    message: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            message[name] = value.removeprefix(" ")
        elif message:
            yield message
            message = {}


@contextmanager
def listening(service: Service, last_id: str | None = None) -> Iterator[Iterator[Message]]:
    """Listen to the events until the end of the block."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with (
        httpx2.Client(base_url=service.url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
        client.stream("GET", EVENTS, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        yield read(response)


def place(service: Service) -> str:
    """Return the current last event ID, from which a client can resume."""
    with listening(service) as messages:
        return next(messages)["id"]


def reference_of(message: Message) -> str:
    """Return the reference of an event's order."""
    reference: str = json.loads(message["data"])["reference"]
    return reference


def tasks(service: Service) -> tuple[int, int]:
    """Return the number of the service's tasks and of its streamed responses."""
    answer = service.request("GET", "/probe/alive", params={"kind": "EventSourceResponse"}).json()
    return answer["tasks"], answer["objects"]


def memory(service: Service) -> float:
    """Return the memory of the service in megabytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


@with_streams
def test_client_that_comes_and_goes_misses_nothing(service: Service) -> None:
    """A client that reconnects gets every change once and in order, and can read each changed order."""
    last_id = place(service)
    references = [new_reference() for _ in range(60)]
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(lambda: [service.create_order(reference).status_code for reference in references])
        heard: list[str] = []
        while len(heard) < len(references):
            with listening(service, last_id) as messages:
                for message in messages:
                    last_id = message["id"]
                    if "event" not in message:
                        continue
                    assert message["event"] == "order.created"
                    heard.append(reference_of(message))
                    assert service.request("GET", f"/api/v1/orders/{json.loads(message['data'])['id']}").is_success
                    if len(heard) == len(references) or len(heard) % 3 == 0:
                        break
        assert set(writing.result()) == {201}
    assert heard == references


@with_streams
def test_client_that_was_away_for_too_long_is_told(project: Project, settings: dict[str, str]) -> None:
    """Events that are no longer stored are reported as missed, also after a restart, and later ones follow."""
    settings = settings | {"EVENTS_BUFFER_SIZE": "5"}
    with project.start(settings) as service:
        first = place(service)
        references = [new_reference() for _ in range(6)]
        for reference in references[:5]:
            service.create_order(reference)
        with listening(service, first) as messages:
            next(messages)
            assert [reference_of(next(messages)) for _ in range(5)] == references[:5]
        service.create_order(references[5])
        last_id = assert_missed(service, first)
    with project.start(settings) as service:
        assert_missed(service, last_id)


def assert_missed(service: Service, last_id: str) -> str:
    """Check that a client is informed of missed events and gets the rest, and return its last event ID."""
    with listening(service, last_id) as messages:
        next(messages)
        assert next(messages)["event"] == "missed"
        reference = new_reference()
        assert service.create_order(reference).status_code == 201
        message = next(messages)
        assert (message["event"], reference_of(message)) == ("order.created", reference)
    return message["id"]


@where(lambda variant: variant.database in DEFERRED_FAULT, STREAMING_VARIANTS)
def test_change_that_is_rolled_back_is_not_told(project: Project, own_store: Store, variant: Variant) -> None:
    """A change that is rolled back has no event."""
    with project.start({"DATABASE_URL": own_store.url}) as service, listening(service) as messages:
        next(messages)
        for statement in DEFERRED_FAULT[variant.database]:
            own_store.execute(statement)
        assert service.create_order("refused").status_code == (409 if variant.database == "sqlite" else 500)
        own_store.execute("DROP TRIGGER fault" if variant.database == "sqlite" else "DROP TRIGGER fault ON orders")
        assert service.create_order("stored").status_code == 201
        assert service.create_order("stored").status_code == 409
        assert service.create_order("stored-too").status_code == 201
        assert [reference_of(next(messages)) for _ in range(2)] == ["stored", "stored-too"]


@once_with_streams
def test_heartbeat(project: Project, settings: dict[str, str]) -> None:
    """An idle stream has heartbeats, so that neither proxies nor clients close it."""
    with project.start(settings | {"EVENTS_HEARTBEAT_SECONDS": "0.2"}) as service, listening(service) as messages:
        started = next(messages)
        for _ in range(3):
            assert next(messages) == {"": "", "id": started["id"]}


@once_with_streams
def test_listener_that_does_not_read(project: Project, settings: dict[str, str]) -> None:
    """A slow consumer delays no other client, uses bounded memory, and is disconnected."""
    settings = settings | {
        "EVENTS_BUFFER_SIZE": "10",
        "EVENTS_HEARTBEAT_SECONDS": "0.5",
        "STREAM_STALL_SECONDS": "1.5",
    }
    body = order("") | {"lines": order("")["lines"] * 100}
    with project.start(settings) as service, ExitStack() as stack:
        idle, before = tasks(service), memory(service)
        for _ in range(20):
            stuck = stack.enter_context(socket.socket())
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", service.port))
            stuck.sendall(REQUEST)
        wait_until(lambda: tasks(service)[1] == 20, "everybody listens")
        with listening(service) as messages:
            next(messages)
            while not service.events(event="stream_broken_off"):
                reference = new_reference()
                assert service.client.post("/api/v1/orders", json=body | {"reference": reference}).status_code == 201
                while "data" not in (message := next(messages)):
                    pass
                assert reference_of(message) == reference
        wait_until(lambda: tasks(service) == idle, "nobody listens")
        assert len(service.events(event="stream_broken_off")) == 20
        assert memory(service) - before < GROWTH_MEGABYTES


@once_with_streams
def test_no_task_is_left(service: Service) -> None:
    """Two hundred clients that disconnect, half of them with a reset, leave no tasks behind."""

    async def visit(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(REQUEST)
        await reader.readuntil(b"retry: ")
        await asyncio.sleep(number % 10 / 50)
        if number % 2:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async def crowd() -> None:
        await asyncio.gather(*map(visit, range(200)))

    idle = tasks(service)
    asyncio.run(crowd())
    wait_until(lambda: tasks(service) == idle, "nothing is left")
    wait_until(lambda: len(service.events(event="request", route=EVENTS)) >= 200, "every request has its line")
    assert not service.events(level="error")


@with_streams
@pytest.mark.parametrize("processes", [1, 2])
def test_streams_end_at_shutdown(project: Project, settings: dict[str, str], processes: int) -> None:
    """At a shutdown clients get all events of the drain period, and then the streams end cleanly."""
    settings = settings | {
        "ALLOWED_HOSTS": "127.0.0.1",
        "ENVIRONMENT": "staging",
        "DRAIN_DELAY_SECONDS": "1",
        "KEEP_ALIVE_SECONDS": "1",
        "SHUTDOWN_GRACE_SECONDS": "20",
        "WEB_CONCURRENCY": str(processes),
    }
    with project.start(settings) as service, ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        wait_until(lambda: len(service.events(event="started")) == processes, "every process is up")
        listeners = [stack.enter_context(listening(service)) for _ in range(8)]
        for messages in listeners:
            next(messages)
        service.terminate()
        signaled = time.monotonic()
        wait_until(lambda: len(service.events(event="draining")) == processes, "every process drains")
        reference = new_reference()
        assert service.create_order(reference).status_code == 201
        heard: list[list[Message]] = list(threads.map(list, listeners))
        # Each process reports its own events.
        told_of = [reference_of(messages[0]) for messages in heard if messages]
        assert set(told_of) <= {reference}
        assert processes == 2 or len(told_of) == len(listeners)
        code = service.wait()
        assert 1 <= time.monotonic() - signaled < 10
        assert code == (-signal.SIGTERM if processes == 1 else 0)
        assert len(service.events(event="stopped")) == processes
        assert not service.events(level="error")
        assert not service.events(level="warning")


@once_with_streams
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_service_ends_at_once(project: Project, settings: dict[str, str], number: signal.Signals) -> None:
    """In local development an open stream does not delay Ctrl-C."""
    with project.start(settings, module="shop") as service, listening(service) as messages:
        next(messages)
        service.process.send_signal(number)
        started = time.monotonic()
        assert list(messages) == []
        service.wait()
        assert time.monotonic() - started < 3
        assert service.events(event="stopped")
        assert not service.events(level="error")
