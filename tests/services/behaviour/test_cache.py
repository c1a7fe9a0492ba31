"""Cached results: computed once for simultaneous requests, and never older than a change."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from tests.services.behaviour.variants import with_cache_and_client, with_cache_and_database, with_everything
from tests.services.running import PACKAGE, Project, Service, Store, Variant, new_reference, wait_until

SUMMARY = "/api/v1/orders/summary"
SIMULTANEOUS = 1000
SESSION_SECONDS = 4.0

# Blocks the summary on request, and counts its calls and computations.
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
    """A service whose summaries can be counted and blocked."""

    service: Service

    def hold(self, where: str, *, fail: bool = False) -> None:
        """Block the next computation, and clear the cache with a new order."""
        assert self.service.create_order(new_reference()).status_code == 201
        self.service.request("POST", "/probe/summaries", params={"where": where, "fail": fail})

    def release(self) -> None:
        """Unblock it."""
        self.service.request("DELETE", "/probe/summaries")

    def wait_for(self, **counts: int) -> None:
        """Wait for this number of calls and computations."""
        wait_until(lambda: counts.items() <= self.counts().items(), f"summaries {counts}")

    def counts(self) -> dict[str, int]:
        """Return the number of calls and computations since the block."""
        counts: dict[str, int] = self.service.request("GET", "/probe/summaries").json()
        return counts

    def get(self) -> httpx2.Response:
        """Request the summary."""
        return self.service.request("GET", SUMMARY)

    def drafts(self) -> int:
        """Return the number of drafts in the service's summary."""
        return drafts(self.get())


def drafts(response: httpx2.Response) -> int:
    """Return the number of drafts in a summary."""
    assert response.status_code == 200, response.text
    number = response.json()["draft"]
    assert isinstance(number, int)
    return number


@pytest.fixture(scope="module", autouse=True)
def _many_connections() -> Iterator[None]:
    """Allow this process and its services as many sockets as the tests need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * SIMULTANEOUS), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def summaries(project: Project, variant: Variant, own_store: Store) -> Iterator[Summaries]:
    """Return a running service of this test."""
    rules = {"feature": "orders.service", "layered": "services.orders"}[variant.layout]
    stored = variant.database != "none"
    probe = PROBE.format(package=PACKAGE, service=f"{PACKAGE}.{rules}")
    (project.folder / "cache_probe.py").write_text(probe)
    database = {"DATABASE_URL": own_store.url} if stored else {}
    settings = database | {"DATABASE_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)} if stored else {}
    with project.start(settings, module="cache_probe") as service:
        yield Summaries(service)


async def ask_at_once(service: Service, path: str, number: int) -> list[bytes]:
    """Send simultaneous requests on many connections, and return the status lines and bodies."""
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
    """A thousand simultaneous cache misses compute the result once."""
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


@with_everything
def test_requests_that_wait_hold_no_connection(project: Project, own_store: Store) -> None:
    """With one connection, simultaneous requests get the result that one of them computes."""
    settings = {
        "DATABASE_URL": own_store.url, "DATABASE_POOL_SIZE": "1", "DATABASE_MAX_OVERFLOW": "0",
    }  # fmt: skip
    with project.start(settings) as service, ThreadPoolExecutor(10) as threads:
        service.sign_in()
        answers = list(threads.map(lambda _: service.client.get(SUMMARY), range(10)))
    assert [drafts(answer) for answer in answers] == [0] * 10


@with_cache_and_client
def test_failure_is_not_kept(summaries: Summaries) -> None:
    """All waiting requests get the uniform error, and the next request gets a result."""
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
    """All waiting requests get the uniform error, and the next one gets a result."""
    summaries.hold("inside")
    with ThreadPoolExecutor(10) as threads:
        answers = [threads.submit(summaries.get) for _ in range(10)]
        for answer in answers:
            assert summaries.service.failure(answer.result(), 503).code == "unavailable"
    assert summaries.counts() == {"asked": 10, "computed": 1}
    assert summaries.drafts() == 1


@contextlib.contextmanager
def held(summaries: Summaries, where: str) -> Iterator[Future[httpx2.Response]]:
    """Keep a request in the middle of its computation until the end of the block."""
    summaries.hold(where)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(summaries.get)
        try:
            summaries.wait_for(asked=1, computed=1 if where == "after" else 0)
            # It has read the data by then, because it blocks right after that.
            yield answer
        finally:
            summaries.release()


@with_cache_and_client
@pytest.mark.parametrize("where", ["before", "after"])
def test_summary_that_a_write_overtakes(summaries: Summaries, where: str) -> None:
    """A result from before a write goes only to requests from before it, and is not cached."""
    with held(summaries, where) as answer:
        # The blocked computation has read the data that the write changes.
        time.sleep(0.2)
        assert summaries.service.create_order(new_reference()).status_code == 201
        if where == "after":
            assert summaries.drafts() == 2
    # Whether the first transaction sees the write depends on the database.
    assert drafts(answer.result()) in {1, 2}
    assert summaries.drafts() == 2
    assert summaries.drafts() == 2
    assert summaries.counts()["computed"] == {"before": 1, "after": 2}[where]


@with_cache_and_client
def test_every_write_invalidates(summaries: Summaries) -> None:
    """A client sees its own change at once, and a failed write clears no cached result."""
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
