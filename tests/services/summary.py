"""A report at the end of the run: the seconds of each part, the slowest tests, and the rows of the matrix."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from heapq import nlargest
from operator import itemgetter
from typing import Any

import pytest

PROPERTY = "quickset-trial"
SLOWEST = 10


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print durations and the results of the matrix, if any of its rows ran, on any worker."""
    _print_times(terminalreporter)
    trials = dict(_trials(terminalreporter))
    if trials:
        _print_matrix(terminalreporter, trials)


def _print_times(terminalreporter: pytest.TerminalReporter) -> None:
    tests: defaultdict[str, float] = defaultdict(float)
    for report in _reports(terminalreporter):
        tests[report.nodeid] += report.duration
    parts: defaultdict[str, float] = defaultdict(float)
    for test, seconds in tests.items():
        parts[_part(test)] += seconds
    if not parts:
        return
    terminalreporter.section("seconds of work, by part")
    for part, seconds in sorted(parts.items(), key=itemgetter(1), reverse=True):
        terminalreporter.write_line(f"{seconds:7.1f}  {part}")
    terminalreporter.section(f"the {SLOWEST} slowest tests")
    for test, seconds in nlargest(SLOWEST, tests.items(), key=itemgetter(1)):
        terminalreporter.write_line(f"{seconds:7.1f}  {test}")


def _part(test: str) -> str:
    """Return the module of a test, or the folder if a part has several modules."""
    path = test.partition("::")[0]
    return path if path.startswith("tests/services/test_") else path.rpartition("/")[0]


def _print_matrix(terminalreporter: pytest.TerminalReporter, trials: dict[str, dict[str, Any]]) -> None:
    write = terminalreporter.write_line
    terminalreporter.section("matrix of services")
    not_run = {row: trial["not_run"] for row, trial in trials.items() if trial["not_run"]}
    same = {row: trial["same_as"] for row, trial in trials.items() if trial["same_as"]}
    ran = len(trials) - len(not_run) - len(same)
    write(f"{len(trials)} rows: {ran} run, {len(same)} with the code of another, {len(not_run)} checked, not run")
    for row, first in sorted(same.items()):
        write(f"  same code: {row}: {first}")
    for row, reason in sorted(not_run.items()):
        write(f"  not run: {row}: {reason}")
    for server, rows in sorted(Counter(trial["server"] for trial in trials.values() if trial["server"]).items()):
        write(f"server {server}: {rows} rows")
    seconds: Counter[str] = Counter()
    for trial in trials.values():
        seconds.update(trial["seconds"])
    phases = ", ".join(f"{phase} {total:.0f}" for phase, total in seconds.items())
    write(f"{sum(seconds.values()):.0f} s of work: {phases}")


def _reports(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for reports in terminalreporter.stats.values():
        yield from (report for report in reports if isinstance(report, pytest.TestReport))


def _trials(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, dict[str, Any]]]:
    # The report of the teardown has it for any result of the test.
    for report in _reports(terminalreporter):
        for name, value in report.user_properties:
            if isinstance(value, dict) and name == PROPERTY and "::test_row[" in report.nodeid:
                yield report.nodeid.partition("[")[2].rstrip("]"), value
