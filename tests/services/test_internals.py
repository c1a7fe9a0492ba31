"""The files in the folder `internals` test the template's internals in generated services.

These files are ordinary tests of a service whose package is `app`. They use the fixtures of its own `conftest.py`.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.questions import Answer
from tests.rendering import render
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.servers import Kind, MissingServerError, Server
from tests.services.trial import Trial, clean_environment

FOLDER = Path(__file__).with_name("internals")
PATIENCE_SECONDS = 300

EVERYTHING: Mapping[str, Answer] = {
    "rate_limit": "memory",
    "cache": "memory",
    "http_client": True,
    "websockets": True,
    "streaming": True,
}
# The answers of the services in which the files run.
SERVICES: Mapping[str, Mapping[str, Answer]] = {
    "sqlite": EVERYTHING,
    "postgresql": {**EVERYTHING, "database": "postgresql"},
    "mysql": {**EVERYTHING, "database": "mysql"},
    "problem": {**EVERYTHING, "error_format": "problem"},
    "no-users": {**EVERYTHING, "auth": "none"},
    "no-database": {**EVERYTHING, "database": "none"},
}
DATABASES = ("sqlite", "postgresql", "mysql")
WITH_USERS = (*DATABASES, "problem")
ANY = tuple(SERVICES)


@dataclass(frozen=True)
class Where:
    """The services in which a test file runs.

    Attributes:
        soon: The services in `.ci/run`: one, or one for each answer that can affect the result.
        late: The services in `.ci/full`: all that have the tested part.
    """

    soon: Sequence[str]
    late: Sequence[str]


ONCE = Where(("sqlite",), ANY)
ONCE_WITH_USERS = Where(("sqlite",), WITH_USERS)
EACH_DATABASE = Where(DATABASES, (*DATABASES, "problem", "no-users"))
EACH_FORMAT = Where(("sqlite", "problem"), ANY)
FILES: Mapping[str, Where] = {
    "test_app.py": ONCE,
    "test_auth_service.py": ONCE_WITH_USERS,
    "test_cache.py": ONCE,
    "test_create_admin.py": Where(DATABASES, WITH_USERS),
    "test_database.py": EACH_DATABASE,
    "test_domain_events.py": ONCE,
    "test_dotenv.py": ONCE,
    "test_errors.py": EACH_FORMAT,
    "test_health.py": ONCE,
    "test_http_client.py": ONCE,
    "test_middleware.py": ONCE,
    "test_mysql.py": Where(("mysql",), ()),
    "test_order_room.py": ONCE_WITH_USERS,
    "test_order_streams.py": Where(DATABASES, WITH_USERS),
    "test_order_summary.py": ONCE_WITH_USERS,
    "test_order_total.py": ONCE_WITH_USERS,
    "test_orders.py": EACH_DATABASE,
    "test_pagination.py": ONCE,
    "test_postgresql.py": Where(("postgresql",), ()),
    "test_rate_limit.py": Where(("sqlite",), ("problem",)),
    "test_rooms.py": EACH_FORMAT,
    "test_server.py": ONCE,
    "test_servers.py": Where(("postgresql", "mysql"), ()),
    "test_settings.py": Where(("sqlite",), ("problem", "no-users")),
    "test_sign_in.py": Where(DATABASES, WITH_USERS),
    "test_sqlite.py": Where(("sqlite",), ("problem",)),
    "test_streaming.py": ONCE,
    "test_tokens.py": ONCE_WITH_USERS,
}
# Fast enough for the first run.
SAMPLE = ("test_cache.py", "test_pagination.py")


def runs() -> list[ParameterSet]:
    """Return a service and its files for each run."""
    soon = {service: [file for file, where in FILES.items() if service in where.soon] for service in SERVICES}
    late = {
        service: [file for file, where in FILES.items() if service in where.late and file not in soon[service]]
        for service in SERVICES
    }
    return [
        pytest.param("sqlite", SAMPLE, id="sample"),
        *(pytest.param(each, files, id=each, marks=pytest.mark.ci) for each, files in soon.items() if files),
        *(
            pytest.param(each, files, id=f"{each}-rest", marks=pytest.mark.full)
            for each, files in late.items()
            if files
        ),
    ]


def test_every_file_has_a_service() -> None:
    """Each test file runs in some service, and each entry of the table is a file."""
    assert {path.name for path in FOLDER.glob("test_*.py")} == set(FILES)
    assert all(where.soon for where in FILES.values())


@pytest.fixture
def folder(template: Path, tmp_path: Path, service: str) -> Path:
    """Return a service with the files that can run in it, next to its own tests."""
    folder = render(template, tmp_path / "service", {"package_name": "app", **SERVICES[service]})
    tests = folder / "tests" / "internals"
    tests.mkdir()
    for path in FOLDER.glob("*.py"):
        where = FILES.get(path.name)
        if where is None or service in {*where.soon, *where.late}:
            shutil.copy(path, tests)
    return folder


@pytest.mark.parametrize(("service", "files"), runs())
def test_internals(
    service: str,
    files: Sequence[str],
    folder: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
) -> None:
    """The files pass in a generated service."""
    environment = environment_of(folder, python_for("3.11") or newest_python())
    with ExitStack() as stack:
        variables = {}
        if service in {"postgresql", "mysql"}:
            try:
                server = server_of("postgresql" if service == "postgresql" else "mysql")
            except MissingServerError as error:
                missing_server(str(error))
                raise
            variables["TEST_DATABASE_URL"] = server.url(stack.enter_context(server.database()))
        finished = subprocess.run(
            [environment.python, "-m", "pytest", "-q", "--tb=short", *(f"tests/internals/{file}" for file in files)],
            cwd=folder,
            env=clean_environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    if finished.returncode:
        pytest.fail(f"{service}: {dict(SERVICES[service])}\n{finished.stdout}", pytrace=False)


@pytest.mark.parametrize(
    "service",
    [
        pytest.param("sqlite", marks=pytest.mark.ci),
        *(pytest.param(each, marks=pytest.mark.full) for each in ("postgresql", "mysql")),
    ],
)
def test_types(service: str, folder: Path) -> None:
    """The files are typed as strictly as the service that they test."""
    environment = environment_of(folder, python_for("3.11") or newest_python())
    Trial(folder).check_types(environment, "3.11")
