"""What it costs the service to find a result that it has kept."""

import json
import subprocess
from pathlib import Path

from figure import Figure, at_most
from processes import SERVER_CORE
from services import clean_environment, make_service

ROUNDS = 11
HITS = 20_000

# Runs in the service's own environment, on the service's own class; prints the seconds of CPU of each round.
MEASURE = f"""
import asyncio, gc, json, os, time
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
        for _ in range({HITS}):
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
    """Measure a hit: the key made of the arguments, the result found and read into objects of the caller's own."""
    service = make_service(scratch / "cache", auth="none", cache="memory")
    finished = subprocess.run(
        [service.python, "-c", MEASURE],
        cwd=service.folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    rounds: list[float] = json.loads(finished.stdout)
    microseconds = sorted(rounds)[len(rounds) // 2] / HITS * 1e6
    return [at_most("a hit of the cache, CPU (a summary of four records)", microseconds, 15, unit="µs")]
