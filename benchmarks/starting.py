"""How long the service takes to start and how much memory it then holds, against bare FastAPI with SQLAlchemy."""

import time
from pathlib import Path
from statistics import median

from figure import Figure, at_most
from services import make_service

ROUNDS = 9
IDLE_SECONDS = 1.0


def measure_starting(scratch: Path) -> list[Figure]:
    """Measure the default service from its process's start to its first answer, and at rest."""
    service = make_service(scratch / "default")
    starts = {"bare": lambda: service.start_bare("sqlalchemy_app"), "service": service.start}
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    megabytes: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(ROUNDS + 1):
        for name, start in starts.items():
            with start() as server:
                # Memory at rest: what runs once after the start is over by then.
                time.sleep(IDLE_SECONDS)
                # The first round warms the caches of the disk.
                if number:
                    seconds[name].append(server.start_seconds)
                    megabytes[name].append(server.resident_megabytes())
    took, took_bare = median(seconds["service"]), median(seconds["bare"])
    holds, holds_bare = median(megabytes["service"]), median(megabytes["bare"])
    return [
        at_most(
            "start to the first 200, against bare FastAPI with SQLAlchemy",
            took / took_bare,
            1.5,
            f"{took:.2f} s against {took_bare:.2f}",
        ),
        at_most(
            "memory at rest, against the same", holds / holds_bare, 1.4, f"{holds:.0f} MB against {holds_bare:.0f}"
        ),
    ]
