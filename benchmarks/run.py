"""Measures everything, or what is named, and prints a table: `uv run python benchmarks/run.py [start new health …]`."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from caching import measure_cache
from commands import measure_new, measure_start
from figure import Figure, table
from rooms import measure_rooms
from serving import measure_auth_read, measure_health, measure_limit, measure_read
from starting import measure_starting
from suite import measure_suite
from updating import measure_check, measure_update

BENCHMARKS: dict[str, Callable[[Path], list[Figure]]] = {
    "start": measure_start,
    "new": measure_new,
    "check": measure_check,
    "update": measure_update,
    "health": measure_health,
    "read": measure_read,
    "limit": measure_limit,
    "cache": measure_cache,
    "rooms": measure_rooms,
    "auth_read": measure_auth_read,
    "starting": measure_starting,
    "suite": measure_suite,
}


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description="Measure quickset and its services.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)} (default: all)")
    names: list[str] = parser.parse_args().names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="quickset-") as scratch:
        for name in names or BENCHMARKS:
            print(f"measuring {name} …", file=sys.stderr)
            figures += BENCHMARKS[name](Path(scratch))
    print(table(figures))


if __name__ == "__main__":
    main()
