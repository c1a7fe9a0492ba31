"""The cache: results that are kept for a while."""

import asyncio

import pytest

from app.core.cache import store
from app.core.cache.store import Cache


class Clock:
    """A clock that the tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Counter:
    """Computes a number, and counts how often it has to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        """Return how often this was called."""
        self.calls += 1
        number = self.calls
        await self.may_end.wait()
        return number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the cache."""
    clock = Clock()
    monkeypatch.setattr(store, "monotonic", clock)
    return clock


@pytest.fixture
def cache(clock: Clock) -> Cache:
    """Return an empty cache with room for two results."""
    return Cache(max_entries=2)


async def get(cache: Cache, compute: Counter, key: object = None) -> int:
    """Return a result that is kept for a minute."""
    return await cache.get("reports", key, compute, ttl_seconds=60)


async def test_result_is_kept_until_its_time_is_up(cache: Cache, clock: Clock) -> None:
    """Compute a result once within its time to live."""
    compute = Counter()
    assert [await get(cache, compute), await get(cache, compute)] == [1, 1]
    clock.now = 59.9
    assert await get(cache, compute) == 1
    clock.now = 60.0
    assert await get(cache, compute) == 2


async def test_slow_result_is_computed_once(cache: Cache, clock: Clock) -> None:
    """Callers wait for a computation that takes longer than its result is kept."""
    compute = Counter()
    compute.may_end.clear()
    waiting = [asyncio.create_task(get(cache, compute))]
    await asyncio.sleep(0)
    clock.now = 61.0
    waiting.append(asyncio.create_task(get(cache, compute)))
    await asyncio.sleep(0)
    compute.may_end.set()
    assert await asyncio.gather(*waiting) == [1, 1]
    assert await get(cache, compute) == 2


async def test_each_key_has_its_result(cache: Cache) -> None:
    """Compute a result for each key."""
    compute = Counter()
    assert [await get(cache, compute, key) for key in ["a", "b", "a"]] == [1, 2, 1]


async def test_least_recently_used_goes_first(cache: Cache) -> None:
    """Make room for a new result."""
    compute = Counter()
    assert [await get(cache, compute, key) for key in "abacab"] == [1, 2, 1, 3, 1, 4]


async def test_one_computes_for_all(cache: Cache) -> None:
    """Compute a result once for all callers that miss it at the same time."""
    compute = Counter()
    assert await asyncio.gather(*(get(cache, compute) for _ in range(100))) == [1] * 100


async def test_invalidation_forgets_what_is_being_computed(cache: Cache) -> None:
    """Callers after an invalidation do not get a result that was read before it."""
    compute = Counter()
    compute.may_end.clear()
    early = asyncio.create_task(get(cache, compute))
    await asyncio.sleep(0)
    cache.invalidate("reports")
    late = asyncio.create_task(get(cache, compute))
    await asyncio.sleep(0)
    compute.may_end.set()
    assert (await early, await late) == (1, 2)
    assert await get(cache, compute) == 2
    cache.invalidate("others")
    assert await get(cache, compute) == 2


async def test_error_reaches_all_callers_and_is_not_kept(cache: Cache) -> None:
    """Compute again after an error."""

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    waiting = [cache.get("reports", None, fail, ttl_seconds=60) for _ in range(3)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert await get(cache, Counter()) == 1


async def test_cancelled_caller(cache: Cache) -> None:
    """A caller that is cancelled does not cancel the computation for the others."""
    compute = Counter()
    compute.may_end.clear()
    first = asyncio.create_task(get(cache, compute))
    second = asyncio.create_task(get(cache, compute))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    compute.may_end.set()
    assert await second == 1
