"""Results that are kept: computed once, however many ask, and never from before a change."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from tests.services.behaviour.variants import with_cache_and_client, with_cache_and_database
from tests.services.running import PACKAGE, Project, Service, Store, Variant, new_reference, wait_until

SUMMARY = "/api/v1/orders/summary"
SIMULTANEOUS = 1000
SESSION_SECONDS = 4.0

# Holds the summary where a test wants it, and counts how often it is asked for and computed.
PROBE = """
import asyncio
import probe
import {package}.main
from {package}.core.cache.store import Cache
from {service} import OrderService

build = {package}.main.create_app
get, count = Cache.get, OrderService.count
counts = {{"asked": 0, "computed": 0}}
# Where the first one waits: before it asks the cache, in the session that it reads in, or after it has read.
hold = ""
failing = False
released = asyncio.Event()

async def get_counted(self, prefix, key, compute, *, ttl_seconds):
    counts["asked"] += 1
    if hold == "before" and counts["asked"] == 1:
        await released.wait()

    async def compute_counted():
        counts["computed"] += 1
        first = counts["computed"] == 1
        found = await compute()
        if hold == "after" and first:
            await released.wait()
        if failing and first:
            raise RuntimeError("the first one fails")
        return found

    return await get(self, prefix, key, compute_counted, ttl_seconds=ttl_seconds)

async def count_held(self, criteria):
    if hold == "inside" and counts["computed"] == 1:
        await released.wait()
    return await count(self, criteria)

Cache.get, OrderService.count = get_counted, count_held

def create_app(*args):
    app = build(*args)

    @app.get("/probe/summaries", include_in_schema=False)
    async def summaries():
        return counts

    @app.post("/probe/summaries", include_in_schema=False)
    async def control(where: str = "", fail: bool = False):
        global hold, failing
        hold, failing = where, fail
        counts.update(asked=0, computed=0)
        released.clear()

    @app.delete("/probe/summaries", include_in_schema=False)
    async def release():
        released.set()

    return app

{package}.main.create_app = create_app

if __name__ == "__main__":
    from {package}.commands.serve import main
    main()
"""


@dataclass
class Summaries:
    """A service whose summing up can be watched and held."""

    service: Service

    def hold(self, where: str, *, fail: bool = False) -> None:
        """Have the first one wait from now on; forget what is kept."""
        assert self.service.create_order(new_reference()).status_code == 201
        self.service.request("POST", "/probe/summaries", params={"where": where, "fail": fail})

    def release(self) -> None:
        """Let it go on."""
        self.service.request("DELETE", "/probe/summaries")

    def wait_for(self, **counts: int) -> None:
        """Wait until it was asked for, or computed, so often."""
        wait_until(lambda: counts.items() <= self.counts().items(), f"summaries {counts}")

    def counts(self) -> dict[str, int]:
        """Return how often it was asked for and computed since it is held."""
        counts: dict[str, int] = self.service.request("GET", "/probe/summaries").json()
        return counts

    def get(self) -> httpx2.Response:
        """Ask for it."""
        return self.service.request("GET", SUMMARY)

    def drafts(self) -> int:
        """Return how many drafts it tells of."""
        return drafts(self.get())


def drafts(response: httpx2.Response) -> int:
    """Return how many drafts a summary tells of."""
    assert response.status_code == 200, response.text
    number = response.json()["draft"]
    assert isinstance(number, int)
    return number


@pytest.fixture(scope="module", autouse=True)
def _many_connections() -> Iterator[None]:
    """Allow this process and the services that it starts as many sockets as the tests need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * SIMULTANEOUS), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def summaries(project: Project, variant: Variant, own_store: Store) -> Iterator[Summaries]:
    """Return a running service of the test's own."""
    rules = {"feature": "orders.service", "layered": "services.orders"}[variant.layout]
    stored = variant.database != "none"
    probe = PROBE.format(package=PACKAGE, service=f"{PACKAGE}.{rules}")
    (project.folder / "cache_probe.py").write_text(probe)
    database = {"DATABASE_URL": own_store.url} if stored else {}
    settings = database | {"DATABASE_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)} if stored else {}
    with project.start(settings, module="cache_probe") as service:
        yield Summaries(service)


async def ask_at_once(service: Service, path: str, number: int) -> list[bytes]:
    """Ask on many connections at once, and return the status lines and bodies."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.split(b"\r\n")[0] + b" " + body

    return await asyncio.gather(*(ask() for _ in range(number)))


@with_cache_and_client
def test_simultaneous_misses_compute_once(summaries: Summaries) -> None:
    """A thousand requests that miss it at the same time, on a thousand connections, sum up once."""
    summaries.hold("after")
    with ThreadPoolExecutor() as threads:
        answers = threads.submit(asyncio.run, ask_at_once(summaries.service, SUMMARY, SIMULTANEOUS))
        try:
            summaries.wait_for(asked=SIMULTANEOUS)
        finally:
            summaries.release()
        [answer] = set(answers.result())
    assert answer.startswith(b"HTTP/1.1 200 OK {")
    assert summaries.counts() == {"asked": SIMULTANEOUS, "computed": 1}


@with_cache_and_client
def test_failure_is_not_kept(summaries: Summaries) -> None:
    """All who wait for it get the uniform error, and who asks next a result."""
    summaries.hold("after", fail=True)
    with ThreadPoolExecutor(10) as threads:
        answers = [threads.submit(summaries.get) for _ in range(10)]
        summaries.wait_for(asked=10)
        summaries.release()
        for answer in answers:
            assert summaries.service.failure(answer.result(), 500).code == "internal_error"
    assert summaries.counts()["computed"] == 1
    assert summaries.drafts() == 1
    assert summaries.counts()["computed"] == 2


@with_cache_and_database
def test_computation_that_takes_too_long(summaries: Summaries) -> None:
    """All who wait for it get the uniform error, and the next one a result."""
    summaries.hold("inside")
    with ThreadPoolExecutor(10) as threads:
        answers = [threads.submit(summaries.get) for _ in range(10)]
        for answer in answers:
            assert summaries.service.failure(answer.result(), 503).code == "unavailable"
    assert summaries.counts() == {"asked": 10, "computed": 1}
    assert summaries.drafts() == 1


@contextlib.contextmanager
def held(summaries: Summaries, where: str) -> Iterator[Future[httpx2.Response]]:
    """Have a request that is in the middle of its summary until the end of the block."""
    summaries.hold(where)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(summaries.get)
        try:
            summaries.wait_for(asked=1, computed=1 if where == "after" else 0)
            # It has read by then: what it waits for comes right after.
            yield answer
        finally:
            summaries.release()


@with_cache_and_client
@pytest.mark.parametrize("where", ["before", "after"])
def test_summary_that_a_write_overtakes(summaries: Summaries, where: str) -> None:
    """It goes to whoever asked for it before; it is not kept, and nobody who asks after the write waits for it."""
    with held(summaries, where) as answer:
        # For the summary under way to have read what the write is about to change.
        time.sleep(0.2)
        assert summaries.service.create_order(new_reference()).status_code == 201
        if where == "after":
            assert summaries.drafts() == 2
    # The transaction of the first may see the write, or not: each database has its own rule.
    assert drafts(answer.result()) in {1, 2}
    assert summaries.drafts() == 2
    assert summaries.drafts() == 2
    assert summaries.counts()["computed"] == {"before": 1, "after": 2}[where]


@with_cache_and_client
def test_every_write_invalidates(summaries: Summaries) -> None:
    """Whoever has changed an order finds the change; a write that fails forgets nothing."""
    service = summaries.service
    reference = new_reference()
    order = f"/api/v1/orders/{service.create_order(reference).json()['id']}"
    assert summaries.drafts() == 1
    service.request("POST", "/probe/summaries")
    assert service.create_order(reference).status_code == 409
    assert summaries.drafts() == 1
    assert summaries.counts()["computed"] == 0
    assert service.request("PATCH", order, json={"status": "confirmed"}).status_code == 200
    assert summaries.drafts() == 0
    second = f"/api/v1/orders/{service.create_order(new_reference()).json()['id']}"
    assert summaries.drafts() == 1
    assert service.request("DELETE", second).status_code == 204
    assert summaries.drafts() == 0
    assert summaries.counts()["computed"] == 3
