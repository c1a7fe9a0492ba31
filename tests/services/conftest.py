"""The servers, and the record of executed tests."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services.servers import Kind, MissingServerError, Server, shared_server
from tests.services.summary import PROPERTY
from tests.services.trial import Trial

# These files import a package that exists only in services, where test_internals.py runs them.
collect_ignore = ["internals"]


@pytest.fixture(scope="session")
def server_of() -> Iterator[Callable[[Kind], Server]]:
    """Return a function that returns the shared server of a kind, or raises `MissingServerError`."""
    found: dict[Kind, Server | MissingServerError] = {}
    with ExitStack() as stack:

        def server(kind: Kind) -> Server:
            if kind not in found:
                try:
                    found[kind] = stack.enter_context(shared_server(kind))
                except MissingServerError as error:
                    found[kind] = error
            result = found[kind]
            if isinstance(result, MissingServerError):
                raise result
            return result

        yield server


@pytest.fixture(scope="session")
def missing_server() -> Callable[[str], None]:
    """Return the reaction to a missing server: a failure if servers are required, and a skip otherwise."""
    if os.environ.get("CI") or os.environ.get("QUICKSET_REQUIRE_SERVERS"):
        return lambda reason: pytest.fail(reason, pytrace=False)
    return pytest.skip


@pytest.fixture(scope="session")
def first_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Return a function that claims something for a name, and returns the earlier claimant, if any."""
    folder = tmp_path_factory.getbasetemp()
    # All workers share the parent of their folders.
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "claimed"
    folder.mkdir(exist_ok=True)

    def claim(what: str, name: str) -> str:
        try:
            (folder / what).symlink_to(name)
        except FileExistsError:
            first = (folder / what).readlink().name
            return "" if first == name else first
        return ""

    return claim


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables of a git author."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Jane Doe")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "jane@example.com")


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    """Return the trial of a service that is not rendered yet. The summary at the end contains its results."""
    trial = Trial(tmp_path / "service")
    yield trial
    noted = {"seconds": trial.seconds, "not_run": trial.not_run, "server": trial.server, "same_as": trial.same_as}
    request.node.user_properties.append((PROPERTY, noted))
