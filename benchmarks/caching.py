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
from uuid import uuid4

os.sched_setaffinity(0, {{{SERVER_CORE}}})
from app.core.cache.store import Cache
from app.orders.summary import PREFIX, SECONDS, OrderSummary


async def main():
    cache = Cache(10_000)
    owner = uuid4()

    async def count():
        return OrderSummary(draft=7, confirmed=7, shipped=7, cancelled=7)

    rounds = []
    for _ in range({ROUNDS} + 1):
        started = time.process_time()
        for _ in range(int(sys.argv[1])):
            await cache.get(PREFIX, owner, count, ttl_seconds=SECONDS)
        rounds.append(time.process_time() - started)
    print(json.dumps(rounds[1:]))


gc.collect()
gc.freeze()
asyncio.run(main())
"""


def measure_cache(scratch: Path) -> list[Figure]:
    """Measure a hit: the result is found by its key."""
    service = make_service(scratch / "cache", auth="none", cache="memory")
    hits = effort.amount(HITS)
    samples = [_microseconds(service, hits) for _ in range(effort.times(effort.STARTS))]
    return [at_most("a hit of the cache, CPU", samples, 15, unit="µs")]


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
