"""The image of a service can be built for each database and is fit for production."""

import http.client
import http.server
import importlib.util
import json
import re
import signal
import stat
import struct
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from tests.questions import read_questions
from tests.rendering import render
from tests.services.debian import call
from tests.services.images import PYTHON_VERSION, Container, Engine, Image, MissingError, find_engine
from tests.services.running import PASSWORD
from tests.services.servers import KINDS, Kind, MissingServerError, Server, free_port

pytestmark = pytest.mark.ci

CHOICES = {question.name: question.choices for question in read_questions()}
PACKAGE = "shop"
SECRET = "known-to-this-test-and-in-no-image-ever"
SETTINGS = {
    "SECRET_KEY": "long-enough-to-be-accepted-in-production",
    "KEEP_ALIVE_SECONDS": "1",
    "SHUTDOWN_GRACE_SECONDS": "5",
}
PATIENCE_SECONDS = 30.0
FORBIDDEN_PROGRAMS = {
    "as", "c++", "cargo", "cc", "clang", "cmake", "g++", "gcc", "ld", "make", "pip", "pip3", "rustc", "uv", "uvx",
}  # fmt: skip
# At its end a server sends itself the signal that it caught. For the first process of a container this has no effect.
STOPPED = {0, 128 + signal.SIGTERM}


@dataclass(frozen=True)
class Built:
    """An image, its build, and a database for it."""

    engine: Engine
    image: Image
    context: Path
    archive: Path
    database: str
    server: Server | None
    build_seconds: float

    def files(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        """Return all files by their paths without the first slash."""
        with tarfile.open(self.archive) as tar:
            for member in tar:
                yield member.name.removeprefix("./"), member, tar

    @contextmanager
    def storage(self) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        """Yield settings and volumes for an empty database, which is removed afterwards."""
        if self.server:
            with self.server.database() as name:
                yield {"DATABASE_URL": self.server.url(name)}, {}
        elif self.database == "sqlite":
            volume = self.engine.volume(self.image, "/data")
            try:
                yield {}, {"/data": volume}
            finally:
                self.engine.remove_volume(volume)
        else:
            yield {}, {}

    @contextmanager
    def serving(
        self,
        settings: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        volumes: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Container, int]]:
        """Migrate an empty database and run the service on it. Yield the container and its port."""
        port = free_port()
        with self.storage() as (stored, data):
            self.migrate(stored, data)
            environment = {**SETTINGS, **stored, "PORT": str(port), **(settings or {})}
            mounted = {**data, **(volumes or {})}
            with self.engine.run(self.image, environment, command, mounted) as container:
                wait_until(lambda: self.healthy(container), container)
                yield container, port

    def migrate(self, stored: Mapping[str, str], data: Mapping[str, str], replicas: int = 1) -> None:
        """Run the migration step, several at once on request."""
        if self.database == "none":
            return
        command = ["python", "-m", PACKAGE, "migrate"]
        with ExitStack() as stack:
            running = [
                stack.enter_context(self.engine.run(self.image, {**SETTINGS, **stored}, command, data))
                for _ in range(replicas)
            ]
            for container in running:
                assert container.wait(PATIENCE_SECONDS) == 0, container.log()

    def healthy(self, container: Container) -> bool:
        """Run the container's own health check."""
        return container.execute(self.health_command).returncode == 0

    @property
    def health_command(self) -> list[str]:
        """The recorded health check, which needs no shell."""
        kind, *command = self.image.health
        assert kind == "CMD"
        return command


def answers(database: str) -> dict[str, str | bool]:
    """Return the answers of the service to build."""
    return {
        "project_name": "Shop",
        "package_name": PACKAGE,
        "python_version": PYTHON_VERSION,
        "database": database,
        "docker": True,
    }


def wait_until(condition: Callable[[], bool], container: Container) -> None:
    """Wait for a condition of a container, and fail with its log."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, container.log()[-4000:]
        time.sleep(0.1)


def request(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    """Send a request to a local service, with a form or JSON, and return the status and the body."""
    kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/json"
    content = body if isinstance(body, str) else json.dumps(body)
    sent = headers | ({"Content-Type": kind} if body else {})
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, content if body else None, sent)
        response = connection.getresponse()
        return response.status, response.read()


def sign_in(port: int) -> str:
    """Register a user and return the headers of an authenticated request."""
    user = {"email": "jane@shop.example", "password": PASSWORD}
    status, body = request(port, "POST", "/api/v1/auth/register", user)
    assert status == 201, body
    form = urlencode({"username": user["email"], "password": user["password"]})
    status, body = request(port, "POST", "/api/v1/auth/token", form)
    assert status == 200, body
    return f"Bearer {json.loads(body)['access_token']}"


@pytest.fixture(scope="module")
def engine(missing_server: Callable[[str], None]) -> Engine:
    """Return the engine of this machine."""
    if PYTHON_VERSION not in CHOICES["python_version"]:
        missing_server(f"no service supports the running Python {PYTHON_VERSION}")
    try:
        return find_engine()
    except MissingError as error:
        missing_server(str(error))
        raise


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "postgresql" else pytest.mark.full) for name in CHOICES["database"]],
)
def database(request: pytest.FixtureRequest) -> str:
    """Return each database in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def context(template: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout of a service with many files that must not be in its image."""
    folder = render(template, tmp_path_factory.mktemp("image") / "service", answers(database))
    call(["uv", "lock", "--quiet"], folder=folder)
    for stray in (".env", f"{PACKAGE}/.env", "data.db", ".venv/pyvenv.cfg", f"{PACKAGE}/__pycache__/test_old.pyc"):
        path = folder / stray
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"SECRET_KEY={SECRET}\n")
    # As after a checkout with the strictest umask.
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture(scope="module")
def server(database: str, server_of: Callable[[Kind], Server], missing_server: Callable[[str], None]) -> Server | None:
    """Return the server of the database, if it needs one."""
    if database not in KINDS:
        return None
    try:
        return server_of(database)
    except MissingServerError as error:
        missing_server(str(error))
        raise


@pytest.fixture(scope="module")
def built(database: str, engine: Engine, server: Server | None, context: Path) -> Iterator[Built]:
    """Build the image and remove it afterwards."""
    archive = context.with_name("image.tar")
    begin = time.monotonic()
    image = engine.build(context)
    seconds = time.monotonic() - begin
    try:
        engine.export(image, archive)
        yield Built(engine, image, context, archive, database, server, seconds)
    finally:
        engine.remove(image)
        archive.unlink(missing_ok=True)


def test_its_size_is_reported(
    built: Built, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """The size of the image, and the service's share of it, are printed."""
    sizes = {"": 0, "opt/venv/": 0, "app/": 0}
    for path, member, _ in built.files():
        for prefix in sizes:
            sizes[prefix] += member.size if path.startswith(prefix) else 0
    total, venv, app = (f"{size / 1e6:.1f} MB" for size in sizes.values())
    assert sizes["app/"] < sizes["opt/venv/"] < sizes[""]
    line = (
        f"image, database={built.database}: {total}, of which dependencies {venv} and code {app};"
        f" built by {built.engine.name} in {built.build_seconds:.0f} s"
    )
    record_property("quickset-image", line)
    # Standard error of a parallel test process is printed to the terminal.
    with capsys.disabled():
        print(f"\n{line}", file=sys.stderr)


def test_it_runs_as_a_number_that_is_not_root(built: Built) -> None:
    """The user is a number other than root, so that an orchestrator can check it."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", built.image.user)


def test_its_command_needs_no_shell(built: Built) -> None:
    """The command runs without a shell, so that signals reach the service."""
    assert built.image.command == ["python", "-m", PACKAGE]
    assert built.image.environment["HOST"] == "0.0.0.0"  # noqa: S104


def test_it_holds_what_runs_and_nothing_else(built: Built) -> None:
    """The image contains no compiler, installer, cache, test or other file of the checkout."""
    paths = {path for path, _, _ in built.files()}
    stored = built.database != "none"
    assert {path.split("/")[1] for path in paths if path.startswith("app/")} == {
        PACKAGE,
        *(("migrations", "pyproject.toml") if stored else ()),
    }
    programs = {path.rpartition("/")[2] for path in paths if re.search(r"(^|/)s?bin/[^/]+$", path)}
    assert not programs & FORBIDDEN_PROGRAMS
    assert not {path for path in paths if re.search(r"/site-packages/(pip|setuptools|uv|pytest)/", path)}
    assert not {path for path in paths if re.match(r"(root/\.cache|tmp|build)/", path)}
    assert not {path for path in paths if path.startswith("app/") and "test" in path}
    assert not {path for path in paths if path.rpartition("/")[2] in {".env", ".venv", "data.db", "uv.lock"}}


def test_it_holds_no_secret(built: Built) -> None:
    """A secret of the checkout is not in a file, the history or the configuration."""
    recorded = [*built.image.history, *built.image.environment.values()]
    assert SECRET not in "\n".join(recorded)
    assert not {name for name in built.image.environment if re.search("SECRET|PASSWORD|TOKEN", name)}
    for path, member, tar in built.files():
        if member.isfile() and path.startswith(("app/", "opt/", "data/", "root/", "usr/local/")):
            content = tar.extractfile(member)
            assert content is None or SECRET.encode() not in content.read(), path


def test_its_user_cannot_change_it(built: Built) -> None:
    """The user owns only the data folder, and every user can read the code."""
    user = int(built.image.user.partition(":")[0])
    for path, member, _ in built.files():
        if path == "data":
            assert built.database == "sqlite"
            continue
        assert member.uid != user, path
        # Every user can write to folders such as /tmp. A read-only root protects them too.
        if member.isfile() or (member.isdir() and not member.mode & stat.S_ISVTX):
            assert not member.mode & stat.S_IWOTH, path
        if path.startswith(("app/", "opt/")):
            assert member.mode & stat.S_IROTH, path


def test_its_bytecode_is_compiled(built: Built) -> None:
    """Every module of the service and its dependencies has valid bytecode."""
    sources: dict[str, tarfile.TarInfo] = {}
    headers: dict[str, bytes] = {}
    for path, member, tar in built.files():
        if path.startswith(("app/", "opt/venv/lib/")) and path.endswith(".py"):
            sources[path] = member
        elif path.startswith(("app/", "opt/venv/lib/")) and path.endswith(".pyc"):
            content = tar.extractfile(member)
            assert content
            headers[path] = content.read(16)
    assert f"app/{PACKAGE}/main.py" in sources
    for path, member in sources.items():
        if importlib.util.cache_from_source(path) not in headers:
            # uv skips modules that this Python version cannot compile.
            assert path.startswith("opt/"), path
            continue
        magic, flags, modified, size = struct.unpack("<4sIII", headers[importlib.util.cache_from_source(path)])
        assert magic == importlib.util.MAGIC_NUMBER
        unchecked = flags == 0b01
        assert unchecked or (flags, modified, size) == (0, int(member.mtime), member.size), path
    assert len(headers) > 0.99 * len(sources)


def test_it_serves_with_a_read_only_root(built: Built) -> None:
    """With a read-only root and without capabilities the service becomes healthy and works."""
    with built.serving() as (container, port):
        assert request(port, "GET", "/health")[0] == 200
        line = {"sku": "TEA-1", "quantity": 2, "unit_price": "9.99"}
        order = {"reference": "A-1", "customer": "Jane Doe", "lines": [line]}
        headers = {"Authorization": sign_in(port)} if built.database != "none" else {}
        status, body = request(port, "POST", "/api/v1/orders", order, **headers)
        assert status == 201, body
        identity = container.execute(["id", "-u"]).stdout.strip()
        assert identity == built.image.user.partition(":")[0]
        for place in ("/app", "/opt/venv", "/usr/local", "/var/tmp"):  # noqa: S108
            assert container.execute(["touch", f"{place}/written"]).returncode, place


def test_it_is_healthy_under_its_public_name(built: Built) -> None:
    """The health check does not depend on the host names of the service."""
    with built.serving({"ALLOWED_HOSTS": "api.example.com"}) as (container, _):
        assert built.healthy(container)


def test_it_is_unhealthy_while_it_does_not_answer(built: Built) -> None:
    """A service that hangs is unhealthy, and is healthy after it continues."""
    with built.serving() as (container, _):
        container.send(signal.SIGSTOP)
        assert not built.healthy(container)
        container.send(signal.SIGCONT)
        assert built.healthy(container)


def test_it_stops_within_the_grace_period(built: Built) -> None:
    """At SIGTERM the service becomes unhealthy first, so that it gets no new requests, and exits in time."""
    with built.serving({"DRAIN_DELAY_SECONDS": "3"}) as (container, _):
        begin = time.monotonic()
        container.send(signal.SIGTERM)
        wait_until(lambda: not built.healthy(container), container)
        assert time.monotonic() - begin < 3
        assert container.wait(PATIENCE_SECONDS) in STOPPED, container.log()
        limit = 3 + float(SETTINGS["KEEP_ALIVE_SECONDS"]) + float(SETTINGS["SHUTDOWN_GRACE_SECONDS"])
        assert 3 <= time.monotonic() - begin < limit


class _Answer(http.server.BaseHTTPRequestHandler):
    status: int

    def do_GET(self) -> None:
        """Return the same status for every request."""
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "healthy"),
        (204, "unhealthy"),
        (302, "unhealthy"),
        (404, "unhealthy"),
        (500, "unhealthy"),
        (503, "unhealthy"),
        (None, "unhealthy"),
    ],
)
def test_its_health_check_accepts_nothing_but_200(built: Built, status: int | None, outcome: str) -> None:
    """The health check fails for an error, a redirect, an empty response and no response."""
    with ExitStack() as stack:
        port = free_port()
        if status:
            handler = type("Handler", (_Answer,), {"status": status})
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", port), handler))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        environment = {"PORT": str(port)}
        check = stack.enter_context(built.engine.run(built.image, environment, built.health_command))
        assert (check.wait(PATIENCE_SECONDS) == 0) == (outcome == "healthy")


def test_it_refuses_to_start_without_its_secret(built: Built) -> None:
    """The image does not run in production with a publicly known secret."""
    with built.engine.run(built.image, {}) as container:
        assert container.wait(PATIENCE_SECONDS) not in STOPPED
        assert "SECRET_KEY" in container.log()


def test_replicas_migrate_from_the_same_image(built: Built) -> None:
    """Two simultaneous migration steps succeed on a real database, and a third one has nothing to do."""
    with built.storage() as (stored, data):
        built.migrate(stored, data, replicas=2)
        built.migrate(stored, data)


def test_changed_code_reloads_in_development(built: Built, template: Path, tmp_path: Path) -> None:
    """With the command and the mounts of the development override, the service reloads changed code."""
    override = yaml.safe_load((built.context / "compose.override.yaml").read_text())["services"]["app"]
    port = free_port()
    command = [part.replace("=8000", f"={port}") for part in override["command"]]
    render(template, tmp_path / "service", answers(built.database))
    # The container's user has no access to pytest's folders.
    with reachable(tmp_path / "service") as source:
        pairs = (entry.split(":")[:2] for entry in override["volumes"])
        volumes = {inside: str(source / outside) for outside, inside in pairs}
        settings = {**override["environment"], "PORT": str(port)}
        with built.serving(settings, command, volumes) as (container, _):
            about = source / PACKAGE / "core" / "about.py"
            about.write_text(about.read_text().replace('TITLE = "Shop"', 'TITLE = "Another shop"'))
            wait_until(lambda: _title(port) == "Another shop", container)


@contextmanager
def reachable(folder: Path) -> Iterator[Path]:
    """Return a copy of a folder that every user can read."""
    copy = Path(call(["mktemp", "--directory"]).stdout.strip())
    try:
        call(["cp", "--recursive", f"{folder}/.", copy])
        call(["chmod", "--recursive", "u=rwX,go=rX", copy])
        yield copy
    finally:
        call(["rm", "--recursive", copy])


def _title(port: int) -> str:
    try:
        title = json.loads(request(port, "GET", "/openapi.json")[1])["info"]["title"]
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return str(title)
