"""Run all benchmarks, or the named ones, and print their table: `uv run python benchmarks/run.py [NAME …]`."""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import effort
from caching import measure_cache
from commands import measure_new, measure_start
from figure import Figure, full_table, readme_table
from rooms import measure_rooms
from services import REPOSITORY
from serving import measure_auth_read, measure_health, measure_limit, measure_read
from starting import measure_starting
from suite import measure_suite
from updating import measure_check, measure_update

# In the order of the README's table.
BENCHMARKS: dict[str, Callable[[Path], list[Figure]]] = {
    "start": measure_start,
    "new": measure_new,
    "check": measure_check,
    "update": measure_update,
    "health": measure_health,
    "read": measure_read,
    "auth_read": measure_auth_read,
    "limit": measure_limit,
    "cache": measure_cache,
    "rooms": measure_rooms,
    "starting": measure_starting,
    "suite": measure_suite,
}
README = REPOSITORY / "README.md"
TABLE = re.compile(r"(?<=<!-- speed -->\n\n).*?(?=\n<!-- /speed -->)", re.DOTALL)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description="Measure quickset and its services.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the table into the README; needs all benchmarks")
    parser.add_argument(
        "--quick", action="store_true", help="measure too little for a figure: a test of the benchmarks"
    )
    options = parser.parse_args()
    names: list[str] = options.names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.write and (names or options.quick):
        parser.error("--write needs all benchmarks, and cannot be combined with --quick")
    effort.quick = options.quick
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="quickset-") as scratch:
        for name in names or BENCHMARKS:
            print(f"measuring {name} …", file=sys.stderr)
            figures += BENCHMARKS[name](Path(scratch))
    print(full_table(figures))
    if options.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(TABLE.sub(lambda _: readme_table(figures) + "\n", text), encoding="utf-8")


if __name__ == "__main__":
    main()
