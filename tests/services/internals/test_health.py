"""Liveness, readiness and shutdown."""

import asyncio
import signal
from collections.abc import Iterator

import pytest
import uvicorn
from httpx2 import AsyncClient
from structlog.testing import capture_logs

from app.core.http import drain as drain_module
from app.core.http.drain import Drain, drain_at_shutdown
from app.core.http.readiness import Check, NotReadyError, Readiness
from app.core.settings import Environment
from app.settings import Settings


async def test_live_and_ready(client: AsyncClient) -> None:
    """A healthy service says so on both routes."""
    assert (await client.get("/health")).json() == {"status": "ok"}
    assert (await client.get("/health/ready")).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_head(client: AsyncClient, path: str) -> None:
    """Load balancers may ask with HEAD; the answer is that of GET, without the body."""
    response = await client.head(path)
    assert response.status_code == 200
    assert response.headers["content-length"] == "15"
    assert response.content == b""


def readiness(**checks: Check) -> Readiness:
    """Return a readiness with short time-outs."""
    return Readiness(checks, Drain(), timeout_seconds=0.01)


async def test_failing_checks_are_named() -> None:
    """The client learns which dependency fails, and no more."""

    async def passes() -> None: ...

    async def fails() -> None:
        raise RuntimeError("password=hunter2")

    async def hangs() -> None:
        await asyncio.sleep(60)

    with pytest.raises(NotReadyError) as refusal:
        await readiness(good=passes, bad=fails, slow=hangs).require()
    details = refusal.value.details or []
    assert [detail.location for detail in details] == [["bad"], ["slow"]]
    assert "hunter2" not in str(details)


async def test_result_is_remembered() -> None:
    """A crowd of probes asks the dependency once."""
    calls = 0

    async def count() -> None:
        nonlocal calls
        calls += 1

    checked = readiness(counted=count)
    await asyncio.gather(*(checked.require() for _ in range(10)))
    assert calls == 1


async def test_draining_is_not_ready() -> None:
    """A service that is about to stop takes no new traffic."""
    drain = Drain()
    checked = Readiness({}, drain, timeout_seconds=1)
    await checked.require()
    drain.draining = True
    with pytest.raises(NotReadyError):
        await checked.require()


@pytest.fixture
def server() -> Iterator[uvicorn.Server]:
    """Return the server of this process, which handles its signals."""
    server = uvicorn.Server(uvicorn.Config(""))
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    yield server
    signal.signal(signal.SIGTERM, before)


async def test_server_drains_before_it_shuts_down(
    server: uvicorn.Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness turns first, and the server shuts down later."""
    order: list[str] = []

    async def shut_down(_sockets: object) -> None:
        order.append("server")

    monkeypatch.setattr(server, "shutdown", shut_down)
    drain = Drain()

    async def close() -> None:
        order.append("connections")

    drain.before_stop(close)
    server.servers = []
    deployment = {"environment": Environment.PRODUCTION, "drain_delay_seconds": 0.05, "keep_alive_seconds": 0}
    drain_at_shutdown(drain, settings.model_copy(update=deployment))
    stopping = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    assert drain.draining
    assert order == []
    await stopping
    assert order == ["connections", "server"]


async def test_what_does_not_end_delays_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that fails to end, or hangs, stops neither the service nor the end of the others."""
    monkeypatch.setattr(drain_module, "CLOSE_SECONDS", 0.05)
    drain = Drain()
    ended = []

    async def fail() -> None:
        raise ValueError("wrong")

    async def end() -> None:
        await asyncio.sleep(0)
        ended.append("ended")

    for close in (fail, asyncio.Event().wait, end):
        drain.before_stop(close)
    with capture_logs() as logs:
        await asyncio.wait_for(drain.close(), timeout=5)
    assert ended == ["ended"]
    assert [entry["event"] for entry in logs] == ["closing_failed", "closing_failed"]
