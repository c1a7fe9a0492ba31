"""Events that are dispatched once the work is stored."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from app.core import events
from app.core.events import Dispatcher, DomainEvent, Subscriber


@dataclass(frozen=True)
class Happened(DomainEvent):
    """Something that happened."""

    number: int = 1


class HappenedAgain(Happened):
    """Something of the same kind."""


class Unrelated(DomainEvent):
    """Something else."""


async def remember(event: Happened, state: Mapping[str, Any]) -> None:
    """Remember the number of an event."""
    state["numbers"].append(event.number)


async def fail(_event: Happened, _state: object) -> None:
    """Fail."""
    raise ValueError("broken")


async def hang(_event: Happened, _state: object) -> None:
    """Take too long."""
    await asyncio.Event().wait()


@pytest.fixture
def numbers() -> list[int]:
    """Return a list of the numbers of all events."""
    return []


@pytest.fixture
def dispatcher(numbers: list[int], monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    """Return a dispatcher, two of whose subscribers do not work."""
    monkeypatch.setattr(events, "SUBSCRIBER_SECONDS", 0.05)
    return Dispatcher([Subscriber(Happened, each) for each in (fail, hang, remember)], {"numbers": numbers})


async def test_events_reach_their_subscribers_in_order(
    dispatcher: Dispatcher, numbers: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that fails or hangs spoils nothing for the others, and is logged."""
    await dispatcher.dispatch([Happened(1), Unrelated(), HappenedAgain(2)])
    assert numbers == [1, 2]
    assert sum("subscriber_failed" in str(record.msg) for record in caplog.records) >= 4


async def test_cancellation_does_not_interrupt_dispatch(numbers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is stored: its events reach the subscribers of a request that is cancelled."""
    monkeypatch.setattr(events, "SUBSCRIBER_SECONDS", 0.05)
    finished = asyncio.Event()

    async def finish(event: Happened, _state: object) -> None:
        if event.number == 2:
            finished.set()

    subscribers = [Subscriber(Happened, each) for each in (hang, remember, finish)]
    dispatcher = Dispatcher(subscribers, {"numbers": numbers})
    dispatching = asyncio.create_task(dispatcher.dispatch([Happened(1), Happened(2)]))
    await asyncio.sleep(0.01)
    dispatching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dispatching
    await asyncio.wait_for(finished.wait(), timeout=10)
    assert numbers == [1, 2]
