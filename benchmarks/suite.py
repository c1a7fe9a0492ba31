"""Measure how long the tests of the default service take."""

import subprocess
from functools import partial
from pathlib import Path

import effort
from figure import Figure, at_most, in_turn, seconds
from services import clean_environment, make_service

ROUNDS = 7


def measure_suite(scratch: Path) -> list[Figure]:
    """Measure the command that the README of a service gives for its tests."""
    folder = make_service(scratch / "suite").folder

    def test() -> None:
        subprocess.run(
            ["uv", "run", "pytest", "--quiet"],  # the first round installs what the tests need, and does not count
            cwd=folder,
            env=clean_environment(),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    took = in_turn({"suite": partial(seconds, test)}, effort.times(ROUNDS))["suite"]
    return [at_most("the default service's own tests", took, 4, unit="s")]
