"""Measure how long a service takes to start and how much memory it holds, against bare FastAPI with SQLAlchemy."""

import time
from pathlib import Path
from statistics import median

import effort
from figure import Figure, at_most, ratios
from services import make_service

ROUNDS = 9
IDLE_SECONDS = 1.0


def measure_starting(scratch: Path) -> list[Figure]:
    """Measure the default service from the start of its process to its first response, and at rest."""
    service = make_service(scratch / "default")
    starts = {"bare": lambda: service.start_bare("sqlalchemy_app"), "service": service.start}
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    megabytes: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(effort.times(ROUNDS) + 1):
        for name, start in starts.items():
            with start() as server:
                # By then, everything that runs once after the start is done.
                time.sleep(IDLE_SECONDS)
                # The first round fills the file cache of the system.
                if number:
                    seconds[name].append(server.start_seconds)
                    megabytes[name].append(server.resident_megabytes())
    took, took_bare = (median(seconds[name]) for name in ("service", "bare"))
    holds, holds_bare = (median(megabytes[name]) for name in ("service", "bare"))
    return [
        at_most(
            "start to the first 200, against bare FastAPI with SQLAlchemy",
            ratios(seconds["service"], seconds["bare"]),
            1.4,
            f"{took:.2f} s against {took_bare:.2f}",
        ),
        at_most(
            "idle memory, against the same",
            ratios(megabytes["service"], megabytes["bare"]),
            1.4,
            f"{holds:.0f} MB against {holds_bare:.0f}",
        ),
    ]
