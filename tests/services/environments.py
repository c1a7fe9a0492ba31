"""Python environments for generated services: one for each set of dependencies, shared and kept between runs."""

import hashlib
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock

# Oldest first, like the choices of python_version.
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the dependencies and the checkers of a service.

    Attributes:
        folder: Its folder.
        version: Its Python version.
    """

    folder: Path
    version: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """Return the path of one of its commands."""
        return self.folder / "bin" / name

    def lock(self, what: str) -> FileLock:
        """Return a lock that all test processes of this machine share."""
        return FileLock(self.folder.with_name(f"{self.folder.name}-{what}.lock"))


@cache
def find_python(version: str) -> str | None:
    """Return the path of an installed Python, such as "3.12"."""
    command = ["uv", "python", "find", "--no-project", "--no-python-downloads", version]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    # uv fails at a shim of pyenv if its version is installed but not selected.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [found.stdout.strip(), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True))]
    return next((path for path in candidates if path and Path(path).exists()), None)


def python_for(oldest: str) -> str | None:
    """Return the Python of a service: the oldest that it supports, or a newer installed one."""
    return next((version for version in SUPPORTED[SUPPORTED.index(oldest) :] if find_python(version)), None)


def newest_python() -> str:
    """Return the newest installed Python."""
    return next(version for version in reversed(SUPPORTED) if find_python(version))


def environment_of(service: Path, version: str) -> Environment:
    """Return an environment with all dependencies of a rendered service, and create it if it is missing."""
    requirements = requirements_of(service)
    key = hashlib.sha256("\n".join([version, *requirements]).encode()).hexdigest()[:16]
    folder = cache_folder() / key
    environment = Environment(folder, version)
    with environment.lock("install"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", str(find_python(version)), str(folder))
            # Not `uv sync`, because it refuses a Python that is too old to run the service but sufficient to check it.
            _uv("pip", "install", "--python", str(environment.python), *requirements)
            (folder / "complete").touch()
    return environment


def requirements_of(service: Path) -> list[str]:
    """Return the sorted dependencies of a rendered service and its tests."""
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
    return sorted([*project["project"]["dependencies"], *project["dependency-groups"]["dev"]])


def cache_folder() -> Path:
    """Return the folder of all environments, which can be deleted at any time."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "quickset" / "test-environments"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _uv(*arguments: str) -> None:
    finished = subprocess.run(["uv", "--quiet", *arguments], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"uv {arguments[0]} failed:\n{finished.stderr}")
