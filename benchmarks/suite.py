"""How long the default service's own tests take."""

import subprocess
from functools import partial
from pathlib import Path

from figure import Figure, at_most, medians, seconds
from services import clean_environment, make_service

ROUNDS = 3


def measure_suite(scratch: Path) -> list[Figure]:
    """Measure the command that a service's README gives for its tests."""
    folder = make_service(scratch / "suite").folder

    def test() -> None:
        subprocess.run(
            ["uv", "run", "pytest", "--quiet"],  # the first round, which does not count, installs what tests need
            cwd=folder,
            env=clean_environment(),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    took = medians({"suite": partial(seconds, test)}, ROUNDS)["suite"]
    return [at_most("test suite of the default service", took, 5, unit="s")]
