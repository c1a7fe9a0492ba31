"""The command line: how fast it starts, and how fast it makes a service."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

from figure import Figure, at_most, medians, seconds
from services import REPOSITORY, clean_environment

PROGRAMS = Path(sys.executable).parent
FASTEST_PEER_SECONDS = 1.0


def measure_start(_scratch: Path) -> list[Figure]:
    """Measure commands that do next to nothing, against a Python that does nothing."""
    bare_typer = Path(__file__).parent / "bare" / "typer_app.py"
    commands: dict[str, Sequence[str | Path]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "quickset --version": [PROGRAMS / "quickset", "--version"],
        "quickset --help": [PROGRAMS / "quickset", "--help"],
        "copier --version": [PROGRAMS / "copier", "--version"],
        "a bare Typer app --help": [sys.executable, bare_typer, "--help"],
    }
    found = medians({name: partial(seconds, partial(_run, command)) for name, command in commands.items()}, 15)
    base = found["python -c pass"]
    version, help_, *others = list(commands)[1:]
    figures = [
        at_most(name, found[name] / base, limit, f"{found[name] * 1000:.0f} ms against {base * 1000:.0f}")
        for name, limit in ((version, 8), (help_, 15))
    ]
    return figures + [Figure(f"for scale: {name}", f"{found[name] / base:.2f} ×") for name in others]


def measure_new(scratch: Path) -> list[Figure]:
    """Measure the making of a service, against plain Copier on the same template."""
    # A clone, since Copier would render uncommitted changes, too, and by a slower way.
    template = scratch / "template"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, template], check=True)
    numbers = count()

    def quickset() -> None:
        service = scratch / f"service-{next(numbers)}"
        _run([PROGRAMS / "quickset", "new", service, "--defaults", "--no-lock", "--quiet", "--ref", "HEAD"])

    def copier() -> None:
        service = scratch / f"service-{next(numbers)}"
        _run([PROGRAMS / "copier", "copy", "--defaults", "--quiet", "--vcs-ref", "HEAD", template, service])

    found = medians({"quickset": partial(seconds, quickset), "copier": partial(seconds, copier)}, 7)
    details = f"{found['quickset']:.2f} s against {found['copier']:.2f}"
    return [
        at_most("quickset new, against copier copy", found["quickset"] / found["copier"], 1.2, details),
        at_most("quickset new, against the fastest peer", found["quickset"], FASTEST_PEER_SECONDS, unit="s"),
    ]


def _run(command: Sequence[str | Path]) -> None:
    identity = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "quickset"), ("EMAIL", "quickset@localhost"))
    }
    environment = {**clean_environment(), **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
