"""How often things are measured. `run.py --quick` only shows that each benchmark works."""

STARTS = 7
quick = False


def times(count: int) -> int:
    """Return how often to measure something.

    Args:
        count: How often it takes for a figure that repeats.
    """
    return min(count, 2) if quick else count


def amount(count: int) -> int:
    """Return how many requests, messages or hits to measure at once.

    Args:
        count: How many it takes for a figure that repeats.
    """
    return max(count // 20, 100) if quick else count
