"""Updates in separate processes that can be killed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.questions import REPOSITORY

KILLED = -9


@dataclass(frozen=True)
class Job:
    """A child that was started."""

    pid: int
    errors: Path
    passed: Path

    @property
    def error(self) -> str:
        """The error output of a failed child."""
        return self.errors.read_text(encoding="utf-8") if self.errors.exists() else ""

    @property
    def boundaries(self) -> int:
        """The number of moments between changes on disk that the child reached."""
        return len(self.passed.read_text()) if self.passed.exists() else 0


class Driver:
    """Starts children and waits for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.updates.driver import main; main()"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, action: str, path: Path, origin: Path, *, seconds: float = 0.0, kill_at: int = 0) -> Job:
        """Start a command on a service.

        Args:
            action: `update`, `resume` or `abort`.
            path: The service.
            origin: The folder of its template.
            seconds: Time until the child and its processes are killed. 0 means never.
            kill_at: The moment at which it is killed. 0 means none.

        Returns:
            The child.
        """
        self._started += 1
        errors = self._folder / f"{self._started}.txt"
        environment = dict(os.environ) | ({"QUICKSET_TEST_KILL_AT": str(kill_at)} if kill_at else {})
        answer = self._ask(
            order="start",
            action=action,
            path=str(path),
            origin=str(origin),
            environment=environment,
            seconds=seconds,
            errors=str(errors),
            passed=str(errors.with_suffix(".passed")),
        )
        return Job(answer["pid"], errors, errors.with_suffix(".passed"))

    def wait(self, job: Job) -> int:
        """Wait for a child.

        Returns:
            Its exit code, negative for a signal.
        """
        return int(self._ask(order="wait", pid=job.pid)["status"])

    def run(self, action: str, path: Path, origin: Path, *, seconds: float = 0.0, kill_at: int = 0) -> int:
        """Start a command and wait for it.

        Returns:
            Its exit code, negative for a signal.
        """
        return self.wait(self.start(action, path, origin, seconds=seconds, kill_at=kill_at))

    def close(self) -> None:
        """Stop the driver."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
