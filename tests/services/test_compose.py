"""The container files are valid and correct, and exist only on request."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.questions import read_questions
from tests.rendering import RenderService, render

pytestmark = pytest.mark.ci

PACKAGE = "shop"
FILES = (".dockerignore", "Dockerfile", "compose.override.yaml", "compose.services.yaml", "compose.yaml")
SERVERS = {"postgresql", "mysql"}
VARIABLES = {"SECRET_KEY": "from-the-environment", "DATABASE_PASSWORD": "also-from-there"}
SECONDS = {"s": 1, "m": 60}


CHOICES = {question.name: question.choices for question in read_questions()}


@pytest.fixture(scope="module", params=CHOICES["database"])
def database(request: pytest.FixtureRequest) -> str:
    """Return each database in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def service(template: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a rendered service with this database."""
    folder = tmp_path_factory.mktemp("compose") / "service"
    return render(template, folder, {"package_name": PACKAGE, "database": database, "docker": True})


def tool(name: str) -> str:
    """Return the path of a program of this environment."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing: it is one of this repository's development dependencies"
    return found


def compose(service: Path, *files: str, variables: Mapping[str, str] = VARIABLES) -> subprocess.CompletedProcess[str]:
    """Return the result of `podman-compose config`, by default for the files that it finds."""
    # podman-compose runs podman here only for its version, so any program works.
    podman = shutil.which("podman") or shutil.which("uv")
    assert podman
    chosen = [part for file in files for part in ("-f", file)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE")}
    return subprocess.run(
        [tool("podman-compose"), "--podman-path", podman, *chosen, "config"],
        cwd=service,
        env={**inherited, **variables},
        check=False,
        capture_output=True,
        text=True,
    )


def services(service: Path, *files: str) -> dict[str, Any]:
    """Return the services that an implementation of compose would start."""
    done = compose(service, *files)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def seconds(duration: str) -> int:
    """Return a compose duration in seconds."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def test_nothing_is_rendered_without_docker(render_service: RenderService, database: str) -> None:
    """A service without Docker has no container files."""
    service = render_service({"database": database, "docker": False})
    assert not [name for name in FILES if (service / name).exists()]


@pytest.mark.parametrize("name", FILES)
def test_rendered_text_is_clean(service: Path, name: str) -> None:
    """The files have no template tags, doubled blank lines or trailing spaces."""
    text = (service / name).read_text(encoding="utf-8")
    assert not re.search(r"\{[{%#]|[%#]\}", text)
    assert "\n\n\n" not in text
    assert text.strip() + "\n" == text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_hadolint_finds_nothing(service: Path) -> None:
    """Hadolint accepts the Dockerfile without ignored rules."""
    text = (service / "Dockerfile").read_text(encoding="utf-8")
    assert "hadolint" not in text
    done = subprocess.run(
        [tool("hadolint"), "--no-color", "--failure-threshold=style", "Dockerfile"],
        cwd=service,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert not done.stdout


@pytest.mark.parametrize("name", ["compose.yaml", "compose.override.yaml", "compose.services.yaml"])
def test_schema_is_kept(service: Path, name: str) -> None:
    """The files are valid by the schema of the Compose specification."""
    schema = "--builtin-schema=vendor.compose-spec"
    done = subprocess.run(
        [tool("check-jsonschema"), schema, service / name], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("files", [("compose.yaml",), ()], ids=["production", "development"])
def test_services_start_in_order(service: Path, database: str, files: tuple[str, ...]) -> None:
    """The service waits for the migrations, and they wait for a database that responds."""
    found = services(service, *files)
    server = database in SERVERS
    expected = {"app", *(["migrate"] if database != "none" else []), *(["database"] if server else [])}
    assert set(found) == expected
    healthy = {"database": {"condition": "service_healthy"}} if server else {}
    migrated = {"migrate": {"condition": "service_completed_successfully"}} if database != "none" else {}
    assert found["app"].get("depends_on", {}) == healthy | migrated
    if migrated:
        assert found["migrate"].get("depends_on", {}) == healthy
        assert found["migrate"]["command"] == ["python", "-m", PACKAGE, "migrate"]
        assert found["migrate"]["image"] == found["app"]["image"]
    if server:
        assert found["database"]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("files", [("compose.yaml",), ()], ids=["production", "development"])
def test_containers_can_do_little(service: Path, files: tuple[str, ...]) -> None:
    """No container is privileged, and the service's containers have read-only roots and no capabilities."""
    for name, described in services(service, *files).items():
        assert not {"privileged", "network_mode", "pid", "devices"} & set(described), name
        assert described["cap_drop"] == ["ALL"], name
        assert described["security_opt"] == ["no-new-privileges:true"], name
        if name != "database":
            assert described["read_only"], name
            assert described["tmpfs"] == ["/tmp"], name  # noqa: S108
            assert "cap_add" not in described, name
        for port in described.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), name


def test_databases_are_not_published_in_production(service: Path) -> None:
    """In production only the service is reachable from outside."""
    found = services(service, "compose.yaml")
    assert [name for name, described in found.items() if described.get("ports")] == ["app"]


def test_secrets_come_from_outside(service: Path, database: str) -> None:
    """No secret is in the files, and none has a default."""
    text = (service / "compose.yaml").read_text(encoding="utf-8")
    for name, value in re.findall(r"^ +(\w*(?:SECRET|PASSWORD|TOKEN)\w*): (.+)$", text, re.MULTILINE):
        assert value.startswith("${") or name == "MARIADB_RANDOM_ROOT_PASSWORD", name
    for name, after in re.findall(r"\$\{(\w+)(..)", text):
        assert after == ":?" or not re.search("SECRET|PASSWORD|TOKEN", name), name
    needed = {"SECRET_KEY", *(["DATABASE_PASSWORD"] if database in SERVERS else [])}
    for name in needed:
        variables = {key: value for key, value in VARIABLES.items() if key != name}
        done = compose(service, "compose.yaml", variables=variables)
        assert done.returncode != 0
        assert f"{name} is missing" in done.stderr


def test_settings_fit_the_container(service: Path, database: str) -> None:
    """The .env file of this machine is used, except for values that differ in a container."""
    (service / ".env").write_text("HOST=127.0.0.1\nPORT=9000\nENVIRONMENT=local\nDATABASE_URL=local\n")
    try:
        app = services(service, "compose.yaml")["app"]
    finally:
        (service / ".env").unlink()
    assert app["ports"] == ["127.0.0.1:9000:8000"]
    assert app["env_file"] == [{"path": ".env", "required": False}]
    environment = app["environment"]
    assert environment["SECRET_KEY"] == VARIABLES["SECRET_KEY"]
    assert (environment["HOST"], environment["PORT"]) == ("0.0.0.0", "8000")  # noqa: S104
    assert environment["ENVIRONMENT"] == "production"
    if database in SERVERS:
        assert environment["DATABASE_PASSWORD"] == VARIABLES["DATABASE_PASSWORD"]
        assert "app@database:" in environment["DATABASE_URL"]
    elif database == "sqlite":
        assert environment["DATABASE_URL"].startswith("sqlite+aiosqlite:////data/")
        assert app["volumes"] == ["data:/data"]


def test_the_service_has_time_to_stop(service: Path) -> None:
    """The stop timeout of the container is long enough for the drain and the requests in flight."""
    lines = (service / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))
    needed = sum(float(example[f"{name}_SECONDS"]) for name in ("DRAIN_DELAY", "KEEP_ALIVE", "SHUTDOWN_GRACE"))
    assert seconds(services(service, "compose.yaml")["app"]["stop_grace_period"]) > needed


def test_development_reloads_mounted_code(service: Path) -> None:
    """Without `-f` the code of this folder runs in the local environment and reloads."""
    for name, described in services(service).items():
        if name == "database":
            continue
        assert described["environment"]["ENVIRONMENT"] == "local"
        mounts = [mount.split(":") for mount in described["volumes"] if mount.startswith("./")]
        assert mounts
        for source, target, mode in mounts:
            assert (service / source).is_dir()
            assert target == f"/app/{source.removeprefix('./')}"
            assert mode == "ro"
    assert "--reload" in services(service)["app"]["command"]
