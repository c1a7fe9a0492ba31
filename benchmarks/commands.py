"""Measure how fast the command starts and creates a service."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import effort
from figure import Figure, at_most, in_turn, ratios, seconds
from services import REPOSITORY, clean_environment

PROGRAMS = Path(sys.executable).parent
FASTEST_PEER_SECONDS = 1.0


def measure_start(_scratch: Path) -> list[Figure]:
    """Measure commands that do almost nothing, against a Python that does nothing."""
    bare_typer = Path(__file__).parent / "bare" / "typer_app.py"
    commands: dict[str, Sequence[str | Path]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "quickset --version": [PROGRAMS / "quickset", "--version"],
        "quickset --help": [PROGRAMS / "quickset", "--help"],
        "copier --version": [PROGRAMS / "copier", "--version"],
        "a bare Typer app --help": [sys.executable, bare_typer, "--help"],
    }
    measures = {name: partial(seconds, partial(_run, command)) for name, command in commands.items()}
    found = in_turn(measures, effort.times(15))
    base, version, help_, *others = commands
    figures = [
        at_most(
            f"`{name}`, against `{base}`",
            ratios(found[name], found[base]),
            limit,
            f"{median(found[name]) * 1000:.0f} ms against {median(found[base]) * 1000:.0f}",
        )
        for name, limit in ((version, 8), (help_, 15))
    ]
    return figures + [Figure(f"for scale: {name}", ratios(found[name], found[base]), "×") for name in others]


def measure_new(scratch: Path) -> list[Figure]:
    """Measure how a service is created, against plain Copier on the same template."""
    # A clone, since Copier would also render uncommitted changes, and more slowly.
    template = scratch / "template"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, template], check=True)
    numbers = count()

    def quickset() -> None:
        service = scratch / f"service-{next(numbers)}"
        _run([PROGRAMS / "quickset", "new", service, "--defaults", "--no-lock", "--quiet", "--ref", "HEAD"])

    def copier() -> None:
        service = scratch / f"service-{next(numbers)}"
        _run([PROGRAMS / "copier", "copy", "--defaults", "--quiet", "--vcs-ref", "HEAD", template, service])

    measures = {"quickset": partial(seconds, quickset), "copier": partial(seconds, copier)}
    own, other = in_turn(measures, effort.times(7)).values()
    details = f"{median(own):.2f} s against {median(other):.2f}"
    return [
        at_most("`quickset new`, against `copier copy` of the same template", ratios(own, other), 1.2, details),
        at_most("`quickset new`, against the fastest peer", own, FASTEST_PEER_SECONDS, unit="s"),
    ]


def _run(command: Sequence[str | Path]) -> None:
    identity = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "quickset"), ("EMAIL", "quickset@localhost"))
    }
    environment = {**clean_environment(), **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
