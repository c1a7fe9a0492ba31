"""Figures, their medians and spreads, and the tables that show them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        samples: The value of each start or round.
        unit: The unit of the samples; empty for the ratio of two costs.
        reach: The value that the median must reach; empty for a line that only gives the scale.
        reached: Whether the median reaches it.
        details: The absolute numbers behind the median.
    """

    what: str
    samples: Sequence[float]
    unit: str = ""
    reach: str = ""
    reached: bool | None = None
    details: str = ""

    @property
    def middle(self) -> str:
        """The median, with its unit."""
        return f"{median(self.samples):.2f} {self.unit}".strip()

    @property
    def spread(self) -> str:
        """The smallest and the largest sample."""
        return f"{min(self.samples):.2f} to {max(self.samples):.2f}"


def at_most(what: str, samples: Sequence[float], limit: float, details: str = "", unit: str = "×") -> Figure:
    """Make a figure of which less is better.

    Args:
        what: What was measured.
        samples: The value of each start or round.
        limit: The largest median that is good.
        details: The absolute numbers behind the median.
        unit: The unit of the samples and the limit.
    """
    return Figure(what, samples, unit, f"≤ {limit:g} {unit}", median(samples) <= limit, details)


def at_least(what: str, samples: Sequence[float], limit: float, details: str = "") -> Figure:
    """Make a figure of which more is better.

    Args:
        what: What was measured.
        samples: The ratio of each start or round.
        limit: The smallest median that is good.
        details: The absolute numbers behind the median.
    """
    return Figure(what, samples, "", f"≥ {limit:.2f}", median(samples) >= limit, details)


def full_table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table of all figures, with the numbers behind them.

    Args:
        figures: The lines of the table.
    """
    rows = [[each.what, each.middle, each.spread, each.reach, _verdict(each), each.details] for each in figures]
    return _table(["what", "median", "spread", "goal", "reached", "medians in numbers"], rows)


def readme_table(figures: Sequence[Figure]) -> str:
    """Return the table of the README: the figures that have something to reach.

    Args:
        figures: All figures.
    """
    rows = [[each.what, each.middle, each.spread, each.reach] for each in figures if each.reach]
    return _table(["what", "median", "spread", "goal"], rows)


def in_turn(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure several things in turn, so that a slow moment of the machine affects all of them.

    Args:
        measures: What to call, by name. The first round warms up and does not count.
        rounds: How many rounds count.

    Returns:
        The values of each, in the order of the rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio of two measured values, round by round.

    Args:
        values: What is divided.
        others: What it is divided by.
    """
    return [value / other for value, other in zip(values, others, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action took.

    Args:
        action: What to do.
    """
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rows = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _verdict(figure: Figure) -> str:
    return {True: "yes", False: "NO", None: ""}[figure.reached]
