import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.updates.harness import Lab, copy, make_origin, make_service
from tests.updates.processes import Driver


def isolate(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Give the tests an empty home folder. The author of commits comes from the environment."""
    home.mkdir(exist_ok=True)
    for name in [name for name in os.environ if name.startswith(("GIT_", "COPIER_", "UV_", "QUICKSET_TEST_KILL"))]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{role}_NAME", "Jane Doe")
        patch.setenv(f"GIT_{role}_EMAIL", "jane@example.com")
        patch.setenv(f"GIT_{role}_DATE", "2026-01-01T00:00:00Z")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without settings."""
    folder = tmp_path / "home"
    isolate(folder, monkeypatch)
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template at its first release, and a service created from it. Tests copy it."""
    folder = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        isolate(folder / "home", patch)
        make_service(make_origin(folder / "origin"), folder / "service")
    return folder


@pytest.fixture
def lab(pristine: Path, tmp_path: Path) -> Lab:
    """A service at the template's first release, in its own repository with one commit."""
    origin = copy(pristine / "origin", tmp_path / "origin")
    service = copy(pristine / "service", tmp_path / "service")
    return Lab(origin, service, service)


@pytest.fixture
def another(pristine: Path, tmp_path: Path) -> Callable[..., list[Lab]]:
    """Create services from the same template in other kinds of repositories."""

    def make(top: Path, *below: str, origin: Path | None = None) -> list[Lab]:
        origin = origin or copy(pristine / "origin", tmp_path / "origin")
        return [Lab(origin, top, make_service(origin, top / name)) for name in below]

    return make


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The driver that runs updates as separate processes."""
    driver = Driver(tmp_path_factory.mktemp("driver"))
    yield driver
    driver.close()
