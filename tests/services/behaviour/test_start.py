"""Errors at the start of the service and their messages."""

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.behaviour.variants import everywhere, once, once_with_file, where
from tests.services.running import PACKAGE, Project, Store, Variant

SHORT_SECRET = "hunter2-hunter2"
UNSAFE = {
    "SECRET_KEY": "change-me",
    "DEBUG": "true",
    "CORS_ORIGINS": "*",
    "CORS_CREDENTIALS": "true",
}
FAULTS = ("SECRET_KEY", "DEBUG", "CORS_ORIGINS")
WAYS = {
    "start": ("-m", PACKAGE),
    "check": ("-m", PACKAGE, "check"),
    "uvicorn": ("-m", "uvicorn", "--factory", f"{PACKAGE}.main:create_app", "--port", "0"),
    "workers": ("-m", "uvicorn", "--factory", f"{PACKAGE}.main:create_app", "--port", "0", "--workers", "2"),
}

BROKEN_RESOURCE = """

def open_broker(_settings: Settings, _startup: object) -> Any:
    raise ConnectionError("no broker")


resources.append(open_broker)
"""

# Starts and stops the application without a server.
START_AND_STOP = f"""
import asyncio
from {PACKAGE}.main import create_app

async def main():
    app = create_app()
    async with app.router.lifespan_context(app):
        pass

asyncio.run(main())
"""


def unsafe_database(variant: Variant) -> dict[str, str]:
    """Return a database setting that a deployed service must not have. For a server it is the default."""
    return {"DATABASE_URL": "sqlite+aiosqlite:///:memory:"} if variant.database == "sqlite" else {}


def assert_refused(finished: subprocess.CompletedProcess[str], *faults: str) -> None:
    """Check that a process reported every error once, one per line, and failed without a traceback."""
    output = finished.stdout + finished.stderr
    assert finished.returncode not in {0, None}
    assert "Traceback" not in output
    for fault in faults:
        assert sum(line.startswith(fault) for line in output.splitlines()) >= 1, output


@everywhere
@pytest.mark.parametrize(("way", "environment"), [("start", "production"), ("check", "staging")])
def test_refused_when_deployed(project: Project, variant: Variant, way: str, environment: str) -> None:
    """Unsafe settings are refused with all errors at once, by the service and by `check`."""
    settings = UNSAFE | unsafe_database(variant) | {"ENVIRONMENT": environment}
    faults = FAULTS if variant.database == "none" else (*FAULTS, "DATABASE_URL")
    finished = project.run(*WAYS[way], settings=settings)
    assert_refused(finished, *faults)
    assert len((finished.stdout + finished.stderr).strip().splitlines()) == 1 + len(faults)


@once_with_file
@pytest.mark.parametrize("way", ["uvicorn", "workers"])
def test_refused_under_another_runner(project: Project, way: str) -> None:
    """Other runners of the application factory get the same errors and do not restart it endlessly."""
    process = subprocess.Popen(
        [project.python, *WAYS[way]],
        cwd=project.folder,
        env=project.environment(UNSAFE | {"ENVIRONMENT": "production"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        pytest.fail("the supervisor restarts its processes endlessly")
    # uvicorn's supervisor exits with 0 even if none of its processes started.
    assert process.returncode != 0 or way == "workers"
    assert "Traceback" not in output
    for fault in FAULTS:
        assert f"\n{fault} " in output


@once_with_file
def test_accepted_outside_production(project: Project, store: Store) -> None:
    """In development these settings are accepted, and the check names the environment."""
    for environment in ("local", "test"):
        finished = project.run(
            *WAYS["check"], settings=UNSAFE | {"DATABASE_URL": store.url, "ENVIRONMENT": environment}
        )
        assert finished.returncode == 0, finished.stderr
        assert environment in finished.stdout


@where(lambda variant: variant.database == "none")
def test_start_warns_as_the_check_does(project: Project, tmp_path: Path) -> None:
    """A deployed service logs one line for each development value, with the text of the check."""
    for environment, names in (("production", ["ALLOWED_HOSTS"]), ("local", [])):
        settings = {"ENVIRONMENT": environment}
        checked = project.run(*WAYS["check"], settings=settings, cwd=tmp_path)
        warnings = [line.removeprefix("Warning: ") for line in checked.stderr.splitlines()]
        assert [warning.split()[0] for warning in warnings] == names
        started = project.run("-c", START_AND_STOP, settings=settings, cwd=tmp_path)
        lines = [json.loads(line) for line in started.stdout.splitlines()]
        assert [line["warning"] for line in lines if line["event"] == "settings_warning"] == warnings
        assert [line["event"] for line in lines][-2:] == ["started", "stopped"]


@everywhere
def test_faults_of_every_kind(project: Project, variant: Variant) -> None:
    """Wrong types, unknown choices and invalid addresses are reported together, without any secret."""
    password = "p4ssw0rd"
    settings = {
        "ENVIRONMENT": "production",
        "SECRET_KEY": SHORT_SECRET,
        "PORT": "99999",
        "LOG_LEVEL": "chatty",
        "MAX_BODY_BYTES": "-1",
        "SHUTDOWN_GRACE_SECONDS": "soon",
        "DATABASE_URL": f"oracle://user:{password}@db/orders",
    }
    faults = ["PORT", "LOG_LEVEL", "MAX_BODY_BYTES", "SHUTDOWN_GRACE_SECONDS"]
    if variant.database != "none":
        faults.append("DATABASE_URL")
    for way in ("start", "check"):
        finished = project.run(*WAYS[way], settings=settings)
        assert_refused(finished, *faults)
        assert password not in finished.stderr
        assert SHORT_SECRET not in finished.stderr


@once_with_file
def test_short_secret(project: Project, store: Store) -> None:
    """A secret with too few bytes is refused and not printed."""
    settings = {"ENVIRONMENT": "production", "SECRET_KEY": SHORT_SECRET, "DATABASE_URL": store.url}
    finished = project.run(*WAYS["check"], settings=settings)
    assert_refused(finished, "SECRET_KEY")
    assert "32" in finished.stderr
    assert SHORT_SECRET not in finished.stderr


@once_with_file
def test_secrets_from_files(project: Project, store: Store, tmp_path: Path) -> None:
    """A secret in a mounted file is validated like one in the environment."""
    script = (
        f"import sys; from pathlib import Path; import {PACKAGE}.core.settings as settings;"
        " settings.SECRETS_DIR = Path(sys.argv[1]);"
        f" from {PACKAGE}.commands.check import main; sys.exit(main())"
    )
    settings = {"ENVIRONMENT": "production", "DATABASE_URL": store.url}
    environment = project.environment(settings)
    del environment["SECRET_KEY"]
    for secret, code in (("s" * 40, 0), (SHORT_SECRET, 1)):
        (tmp_path / "secret_key").write_text(secret)
        finished = subprocess.run(
            [project.python, "-c", script, tmp_path],
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == code, finished.stderr
        assert secret not in finished.stdout + finished.stderr


@once
def test_typo_in_dotenv(project: Project, tmp_path: Path) -> None:
    """An unknown name in .env is refused by its name, without its value."""
    (tmp_path / ".env").write_text("SECRET_KEYS=very-private\nDATABSE_URL=very-private\nLOG_LEVEL=DEBUG\n")
    for way in ("start", "check"):
        finished = project.run(*WAYS[way], cwd=tmp_path)
        assert_refused(finished, "SECRET_KEYS", "DATABSE_URL")
        assert "very-private" not in finished.stderr
        assert "LOG_LEVEL" not in finished.stderr


@contextlib.contextmanager
def occupied_port() -> Iterator[int]:
    """Yield a port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@once_with_file
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("fault", ["port", "host"])
def test_start_failure(project: Project, store: Store, processes: str, fault: str) -> None:
    """A used port or a foreign host stops the start with one clear line in the log."""
    with occupied_port() as port:
        settings = {
            "DATABASE_URL": store.url,
            "WEB_CONCURRENCY": processes,
            "PORT": str(port) if fault == "port" else "0",
            "HOST": "127.0.0.1" if fault == "port" else "192.0.2.1",
        }
        finished = project.run(*WAYS["start"], settings=settings)
    assert finished.returncode != 0
    assert finished.stderr == ""
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    [line] = [event for event in events if event["level"] in {"error", "critical"}]
    assert ("address already in use" if fault == "port" else "assign requested address") in line["event"].lower()
    assert "exception" not in line


@once_with_file
@pytest.mark.parametrize("processes", ["1", "2"])
def test_resource_that_does_not_open(project: Project, store: Store, processes: str, tmp_path: Path) -> None:
    """A resource that cannot be opened stops the start with one line per process and an exit code."""
    copy = tmp_path / "service"
    shutil.copytree(project.folder / PACKAGE, copy / PACKAGE)
    resources = copy / PACKAGE / "resources.py"
    resources.write_text(resources.read_text() + BROKEN_RESOURCE)
    settings = {"DATABASE_URL": store.url, "WEB_CONCURRENCY": processes, "PORT": "0"}

    finished = project.run(*WAYS["start"], settings=settings, cwd=copy)

    assert finished.returncode == 3
    assert "Traceback" not in finished.stdout + finished.stderr
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    failures = [event for event in events if event["event"] == "start_failed"]
    assert 1 <= len(failures) <= int(processes)
    assert all(failure["error"] == "ConnectionError('no broker')" for failure in failures)
