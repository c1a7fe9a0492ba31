"""The trial of a row: every phase runs, even after others fail."""

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.services.environments import Environment, cache_folder
from tests.services.matrix import Row

OUTPUT_LINES = 60
PATIENCE_SECONDS = 300


@dataclass
class Trial:
    """The results of a service: phases, durations and faults.

    Attributes:
        seconds: The duration of each phase.
        faults: The faults, each with its phase in front.
        not_run: The reason why the service was not run, or an empty string.
        server: The server with its data, or an empty string.
        same_as: The row with the same Python code that is run instead, or an empty string.
    """

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    not_run: str = ""
    server: str = ""
    same_as: str = ""

    def fail_on_faults(self, row: Row) -> None:
        """Fail the test with all faults so far."""
        if self.faults:
            pytest.fail("\n\n".join([f"{row.name}: {dict(row.answers)}", *self.faults]), pytrace=False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the duration of the block, and record its failure."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the next phase is to run all the same
            detail = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            self.faults.append(f"--- {name}\n{detail}")
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a command in the service's folder and return its output. A failure is a fault."""
        finished = subprocess.run(
            command,
            cwd=self.folder,
            env=clean_environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        shown = _ends(finished.stdout)
        assert finished.returncode == 0, f"{' '.join(map(str, command[:4]))}: exit {finished.returncode}\n{shown}"
        return finished.stdout

    def git(self, *arguments: str) -> str:
        """Run git on the service without any user's settings."""
        return self.run(
            "git", "-c", "core.hooksPath=", "-c", "init.defaultBranch=main", "-c", "core.quotePath=false", *arguments,
            GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull,
        )  # fmt: skip

    def check_types(self, environment: Environment, version: str) -> None:
        """Run mypy with the cache of the rows before, so that it checks only differences."""
        self.run(
            environment.program("mypy"),
            "--python-executable",
            environment.python,
            **warm_types(self.folder, version),
        )


def warm_types(folder: Path, version: str) -> dict[str, str]:
    """Return the variable that makes mypy use the cache of other services."""
    for path in (found for found in folder.rglob("*.py*") if found.is_file()):
        # mypy treats a file with the same size and time as unchanged, so files with other content get another time.
        os.utime(path, times=(0, int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:3])))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    # mypy compares contents, so the same libraries in other environments are found in the cache.
    return {"MYPY_CACHE_DIR": str(cache_folder() / f"mypy-{version}-{worker}")}


def _ends(output: str) -> str:
    """Shorten an output. The first faults are the most useful."""
    lines = output.splitlines()
    if len(lines) > 2 * OUTPUT_LINES:
        lines[OUTPUT_LINES:-OUTPUT_LINES] = ["[…]"]
    return "\n".join(lines)


def clean_environment() -> dict[str, str]:
    """Return the environment of the test process without variables that would change a service."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ}
