"""What ran, printed at the end: rows, servers, seconds."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

PROPERTY = "quickset-trial"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what became of the matrix, if any of it was run, wherever its rows ran."""
    trials = dict(_trials(terminalreporter))
    if not trials:
        return
    write = terminalreporter.write_line
    terminalreporter.section("matrix of services")
    not_run = {row: trial["not_run"] for row, trial in trials.items() if trial["not_run"]}
    write(f"{len(trials)} rows: {len(trials) - len(not_run)} run, {len(not_run)} rendered, linted and typed, not run")
    for row, reason in sorted(not_run.items()):
        write(f"  not run: {row}: {reason}")
    for server, rows in sorted(Counter(trial["server"] for trial in trials.values() if trial["server"]).items()):
        write(f"server {server}: {rows} rows")
    seconds: Counter[str] = Counter()
    for trial in trials.values():
        seconds.update(trial["seconds"])
    phases = ", ".join(f"{phase} {total:.0f}" for phase, total in seconds.items())
    write(f"{sum(seconds.values()):.0f} s of work: {phases}")
    slowest = max(trials, key=lambda row: sum(trials[row]["seconds"].values()))
    write(f"slowest row: {slowest}, {sum(trials[slowest]['seconds'].values()):.1f} s")


def _trials(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, dict[str, Any]]]:
    # The report of the tear-down has it, whatever became of the test.
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", []):
                if name == PROPERTY:
                    yield report.nodeid.partition("[")[2].rstrip("]"), value
