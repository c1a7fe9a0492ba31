"""A report at the end of the run: the slowest modules and tests, and the rows of the matrix."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from heapq import nlargest
from operator import itemgetter
from typing import Any

import pytest

PROPERTY = "quickset-trial"
SLOWEST_MODULES = 30
SLOWEST_TESTS = 10


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
    modules: defaultdict[str, float] = defaultdict(float)
    for test, seconds in tests.items():
        modules[test.partition("::")[0]] += seconds
    if not modules:
        return
    terminalreporter.section(f"{sum(modules.values()):.0f} seconds of work: the slowest modules")
    for module, seconds in nlargest(SLOWEST_MODULES, modules.items(), key=itemgetter(1)):
        terminalreporter.write_line(f"{seconds:7.1f}  {module}")
    terminalreporter.section("the slowest tests")
    for test, seconds in nlargest(SLOWEST_TESTS, tests.items(), key=itemgetter(1)):
        terminalreporter.write_line(f"{seconds:7.1f}  {test}")


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
