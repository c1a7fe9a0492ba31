"""Measure what a hit of the cache costs."""

import json
import subprocess
from pathlib import Path
from statistics import median

import effort
from figure import Figure, at_most
from processes import SERVER_CORE
from services import Service, clean_environment, make_service

ROUNDS = 3
HITS = 20_000

# Runs in the environment of the service, on its own class, and prints the seconds of CPU of each round.
MEASURE = f"""
import asyncio, gc, json, os, sys, time
from decimal import Decimal

os.sched_setaffinity(0, {{{SERVER_CORE}}})
from app.core.cache.store import Cache, CacheStore
from app.orders.changes import OrderChanges
from app.orders.models import OrderStatus
from app.orders.repository import OrderQuery, StatusSummary
from app.orders.service import OrderService


class Repository:
    async def summarize(self, query):
        return [StatusSummary(status=status, orders=7, value=Decimal("15.30")) for status in OrderStatus]


async def main():
    store = CacheStore(10_000)
    rounds = []
    for _ in range({ROUNDS} + 1):
        started = time.process_time()
        for _ in range(int(sys.argv[1])):
            # As for a request: a cache of its own, on the store of the process.
            cache = Cache(store)
            service = OrderService(Repository(), cache=cache, changes=None)
            await service.summary()
        rounds.append(time.process_time() - started)
    print(json.dumps(rounds[1:]))


gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 50)
asyncio.run(main())
"""


def measure_cache(scratch: Path) -> list[Figure]:
    """Measure a hit: the key is made of the arguments, and the result is found and parsed."""
    service = make_service(scratch / "cache", auth="none", cache="memory")
    hits = effort.amount(HITS)
    samples = [_microseconds(service, hits) for _ in range(effort.times(effort.STARTS))]
    return [at_most("a hit of the cache (a summary of four records), CPU", samples, 15, unit="µs")]


def _microseconds(service: Service, hits: int) -> float:
    """Start a process, and return the median of what a hit costs in it."""
    finished = subprocess.run(
        [service.python, "-c", MEASURE, str(hits)],
        cwd=service.folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    rounds: list[float] = json.loads(finished.stdout)
    return median(rounds) / hits * 1e6
