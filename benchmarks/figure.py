"""What is measured, and how it is told."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        measured: The number, with what it was made of.
        reach: What it is to be; empty for a line that only gives the scale.
        reached: Whether it is that.
    """

    what: str
    measured: str
    reach: str = ""
    reached: bool | None = None


def at_most(what: str, value: float, limit: float, details: str = "", unit: str = "×") -> Figure:
    """Make a figure that is the better the smaller.

    Args:
        what: What was measured.
        value: The number.
        limit: What it may be.
        details: What the number was made of.
        unit: In which unit both are.
    """
    return Figure(what, _with_details(f"{value:.2f} {unit}", details), f"≤ {limit:g} {unit}", value <= limit)


def at_least(what: str, value: float, limit: float, details: str = "") -> Figure:
    """Make a figure that is the better the larger.

    Args:
        what: What was measured.
        value: The number.
        limit: What it has to be.
        details: What the number was made of.
    """
    return Figure(what, _with_details(f"{value:.2f}", details), f"≥ {limit:.2f}", value >= limit)


def table(figures: Sequence[Figure]) -> str:
    """Lay out figures as a table of Markdown.

    Args:
        figures: Its lines.
    """
    rows = [["what", "measured", "reach", "reached"]]
    rows += [[each.what, each.measured, each.reach, _verdict(each)] for each in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def medians(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Measure several things in turn, so that whatever slows the machine down meets all of them.

    Args:
        measures: What to call, by name; a first round does not count.
        rounds: How often.

    Returns:
        The median of each.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if number:
                found[name].append(value)
    return {name: median(values) for name, values in found.items()}


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action took.

    Args:
        action: What to do.
    """
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _verdict(figure: Figure) -> str:
    return {True: "yes", False: "NO", None: ""}[figure.reached]


def _with_details(text: str, details: str) -> str:
    return f"{text} ({details})" if details else text
