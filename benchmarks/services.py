"""Create services from the committed template, ready to run."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from processes import Server, free_port, serve

from quickset.commands.new import Request, new

REPOSITORY = Path(__file__).resolve().parent.parent
BARE = REPOSITORY / "benchmarks" / "bare"

# As in production, with all middleware on.
SETTINGS = {
    "ENVIRONMENT": "local",
    "LOG_FORMAT": "json",
    "ALLOWED_HOSTS": "127.0.0.1",
    "CORS_ORIGINS": "https://shop.example",
    "TRUSTED_PROXIES": "127.0.0.1",
}


def clean_environment() -> dict[str, str]:
    """Return the environment without the variables of Python and of the current virtual environment."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@dataclass(frozen=True)
class Service:
    """A rendered service with the dependencies that its image has installed, all bytecode compiled.

    Attributes:
        folder: Where it is.
        settings: Its settings, besides those of all measured services.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The interpreter that has its dependencies."""
        return self.folder / ".venv" / "bin" / "python"

    @contextmanager
    def start(self) -> Iterator[Server]:
        """Run the service itself, as its owner would."""
        with self._serve([self.python, "-m", "app"]) as server:
            yield server

    @contextmanager
    def start_bare(self, module: str) -> Iterator[Server]:
        """Run one of the bare applications on the same dependencies.

        Args:
            module: Its name in the folder `bare`.
        """
        options = ["--app-dir", str(BARE), "--no-access-log", "--log-level", "warning"]
        with self._serve([self.python, "-m", "uvicorn", *options, f"{module}:app"]) as server:
            yield server

    def run(self, command: str) -> None:
        """Run one of the service's commands.

        Args:
            command: Its name.
        """
        environment = {**clean_environment(), **SETTINGS, **self.settings}
        subprocess.run(
            [self.python, "-m", "app", command], cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, check=True
        )

    @contextmanager
    def _serve(self, command: list[str | Path]) -> Iterator[Server]:
        port = free_port()
        if "uvicorn" in command:
            command = [*command, "--port", str(port)]
        # The bare applications share the models of the service.
        environment = {**SETTINGS, **self.settings, "PORT": str(port), "PYTHONPATH": str(self.folder)}
        with serve(command, self.folder, environment, port, self.folder / f"{port}.log") as server:
            yield server


def make_service(folder: Path, **answers: str | bool) -> Service:
    """Return a service with its dependencies; the first call for a folder creates it.

    Args:
        folder: Where.
        answers: What differs from the defaults.
    """
    if not folder.exists():
        new(Request(path=folder, data=answers, commit=False, lock=False, ref="HEAD"))
        install = ["uv", "sync", "--no-dev", "--quiet", "--compile-bytecode", "--python", sys.executable]
        subprocess.run(install, cwd=folder, env=clean_environment(), check=True)
        subprocess.run([folder / ".venv" / "bin" / "python", "-m", "compileall", "-q", "app"], cwd=folder, check=True)
    return Service(folder)
