"""Generated services as real processes: rendered, started, observed and stopped.

A `Project` is a rendered service with an environment for its dependencies. `project.start(settings)` runs it as its
owner does and yields a `Service`, which has the URL, the log lines and the process. A `Store` is its database, which
belongs to one test and is removed afterwards. A `Proxy` between the two simulates network faults.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, LiteralString, Self, TypeVar

import httpx2

from tests.questions import Answer
from tests.rendering import render
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.servers import Server, free_port
from tests.services.trial import clean_environment

T = TypeVar("T")
Settings = Mapping[str, str]
Database = Literal["sqlite", "postgresql", "mysql", "none"]

PACKAGE = "shop"
SECRET_KEY = "only-the-tests-sign-anything-with-this-key"
PASSWORD = "a phrase that only the tests log in with"
PATIENCE_SECONDS = 30.0

# Routes that cause errors which regular routes do not. They are added to the application as its owner adds routes.
PROBE = """
import asyncio
import gc
from fastapi import Request
from fastapi.responses import StreamingResponse
import {package}.main
{imports}
build = {package}.main.create_app

def create_app(*args):
    app = build(*args)

    @app.api_route("/probe/fail", methods=["GET", "POST"], include_in_schema=False)
    async def fail(message: str = "nothing"):
        raise RuntimeError(message)

    @app.get("/probe/break-off", include_in_schema=False)
    async def break_off():
        async def chunks():
            yield b"first"
            await asyncio.sleep(0)
            raise RuntimeError("lost while streaming")

        return StreamingResponse(chunks())

    @app.get("/probe/pause", include_in_schema=False)
    async def pause(seconds: float):
        await asyncio.sleep(seconds)
        return {{"paused": seconds}}

    @app.get("/probe/alive", include_in_schema=False)
    async def alive(kind: str):
        gc.collect()
        objects = sum(type(item).__name__ == kind for item in gc.get_objects())
        return {{"tasks": len(asyncio.all_tasks()), "objects": objects}}

    @app.get("/probe/client", include_in_schema=False)
    async def client(request: Request):
        return {{"host": request.client.host, "scheme": request.url.scheme}}
{routes}
    return app

{package}.main.create_app = create_app

if __name__ == "__main__":
    from {package}.commands.serve import main
    main()
"""
DATABASE_PROBE = """
    @app.api_route("/probe/hold", methods=["GET", "POST"], include_in_schema=False)
    async def hold(session: SessionDep, seconds: float = 0):
        await session.execute(text("SELECT 1"))
        await asyncio.sleep(seconds)
        return {}

    @app.get("/probe/pool", include_in_schema=False)
    async def pool(request: Request):
        return {"checked_out": request.state["database"].engine.pool.checkedout()}
"""


def wait_until(condition: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Return the value of a condition as soon as it is true, and fail after a timeout."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Variant:
    """The answers that affect the behavior of a service.

    Attributes:
        parts: Names and values of further answers, such as `("auth", "jwt")`. All others are off.
    """

    layout: Literal["feature", "layered"]
    database: Database
    error_format: Literal["envelope", "problem"]
    parts: tuple[tuple[str, Answer], ...] = ()

    def __str__(self) -> str:
        """Return the name of the variant for the ID of a test."""
        return "-".join([self.layout, self.database, self.error_format, *(name for name, _ in self.parts)])

    @property
    def has_auth(self) -> bool:
        """Whether the service has authentication."""
        return ("auth", "jwt") in self.parts


@dataclass(frozen=True)
class Failure:
    """The content of an error body in either format."""

    status: int
    code: str
    message: str
    details: Sequence[Mapping[str, Any]]


class Store:
    """The database of a test.

    Args:
        url: Its URL in the format of the service.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, statement: LiteralString) -> None:
        """Run one statement, committed at once."""
        self.scalar(statement)

    def scalar(self, statement: LiteralString) -> int | None:
        """Run one statement and return the number in its result, if any."""
        raise NotImplementedError


class FileStore(Store):
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite+aiosqlite:///{path}")
        self.path = path

    @property
    def files(self) -> list[Path]:
        """The database and the other files of SQLite."""
        return [path for suffix in ("", "-wal", "-shm") if (path := Path(f"{self.path}{suffix}")).exists()]

    def scalar(self, statement: LiteralString) -> int | None:
        """Run one statement and return the number in its result, if any."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
            row = connection.execute(statement).fetchone()
        number: int | None = row[0] if row else None
        return number


class ServerStore(Store):
    """A database on a server."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(server.url(name))
        self.server = server
        self.name = name

    def scalar(self, statement: LiteralString) -> int | None:
        """Run one statement and return the number in its result, if any."""
        number: int | None = self.server.scalar(statement, self.name)
        return number

    def through(self, port: int) -> str:
        """Return the URL of the same database behind a proxy."""
        return self.url.replace(f":{self.server.port}/", f":{port}/")


@dataclass
class Service:
    """A running service process."""

    process: subprocess.Popen[str]
    url: str
    error_format: str
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start to read its output, so that it never blocks on a full pipe."""
        # Shorter than the server's 5 seconds, so that no connection is used that it is about to close.
        limits = httpx2.Limits(keepalive_expiry=1)
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False, limits=limits)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """Its port."""
        return urllib.parse.urlsplit(self.url).port or 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def events(self, **wanted: object) -> list[dict[str, Any]]:
        """Return the log lines, or those with these values. Each line of a log must be JSON."""
        events = [json.loads(line) for line in list(self.lines)]
        return [event for event in events if wanted.items() <= event.items()]

    def wait_for_event(self, **wanted: object) -> dict[str, Any]:
        """Wait for the first log line with these values, and return it."""
        return wait_until(lambda: self.events(**wanted), f"a log line with {wanted}")[0]

    def wait_until_live(self) -> None:
        """Wait until it responds. If it exits, fail with its output."""

        def answers() -> bool:
            if self.process.poll() is not None:
                self._reader.join(5)
                raise AssertionError("the service ended:\n" + "\n".join(self.lines))
            with contextlib.suppress(httpx2.TransportError):
                return self.client.get("/health").status_code == 200
            return False

        wait_until(answers, "the service answers")

    def is_ready(self) -> bool:
        """Return whether it reports itself as ready."""
        return self.client.get("/health/ready").status_code == 200

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request without authentication on a separate connection."""
        with httpx2.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return client.request(method, path, **options)

    def register(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        """Register an account."""
        return self.request("POST", "/api/v1/auth/register", json={"email": email, "password": password})

    def log_in(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        """Request tokens."""
        return self.request("POST", "/api/v1/auth/token", data={"username": email, "password": password})

    def sign_in(self, email: str = "jane@shop.example") -> None:
        """Sign its client in as a user, and create the account on first use."""
        registered = self.register(email)
        assert registered.status_code in {201, 409}, registered.text
        answer = self.log_in(email)
        assert answer.status_code == 200, answer.text
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def create_order(self, reference: str, **options: Any) -> httpx2.Response:
        """Create an order with a reference."""
        return self.client.post("/api/v1/orders", json=order(reference), **options)

    def references(self) -> set[str]:
        """Return the references of the newest hundred orders."""
        response = self.client.get("/api/v1/orders", params={"size": 100})
        assert response.status_code == 200, response.text
        return {item["reference"] for item in response.json()["items"]}

    def raw(self, request: bytes, method: str = "GET") -> httpx2.Response:
        """Send bytes unchanged and read one response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # A response may arrive before the end of the request.
                connection.sendall(request)
            with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
                response.begin()
                return httpx2.Response(response.status, headers=response.getheaders(), content=response.read())

    def failure(self, response: httpx2.Response, *statuses: int) -> Failure:
        """Check that an error has the uniform format, and return its content."""
        assert response.status_code in statuses, (response.status_code, response.text)
        body = response.json()
        if self.error_format == "problem":
            assert response.headers["content-type"] == "application/problem+json"
            assert set(body) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
            assert body["status"] == response.status_code
            error, message, details = body, body["detail"], body.get("errors", [])
        else:
            assert response.headers["content-type"] == "application/json"
            assert set(body) == {"error"}
            error = body["error"]
            assert set(error) - {"details"} == {"code", "message", "request_id"}
            message, details = error["message"], error.get("details", [])
        assert error["request_id"] == response.headers["x-request-id"]
        assert len(response.headers.get_list("x-request-id")) == 1
        for detail in details:
            assert set(detail) == {"location", "message", "type"}
        return Failure(response.status_code, error["code"], message, details)

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until it has exited and all of its output is read, and return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def close(self) -> None:
        """Stop it in any state, with all processes that it started."""
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Project:
    """A rendered service and an environment with its dependencies.

    Args:
        folder: Its folder.
        python: The interpreter of the environment.
        variant: Its answers.
    """

    def __init__(self, folder: Path, python: Path, variant: Variant) -> None:
        self.folder = folder
        self.python = python
        self.variant = variant

    @classmethod
    def render(cls, template: Path, folder: Path, variant: Variant) -> Self:
        """Render a service from a copy of the template, and add the probe next to it."""
        answers: dict[str, Answer] = {
            "project_name": "Shop",
            "package_name": PACKAGE,
            "layout": variant.layout,
            "database": variant.database,
            "error_format": variant.error_format,
            "rate_limit": "none",
        }
        if variant.database != "none":
            answers["auth"] = "none"
        answers |= dict(variant.parts)
        render(template, folder, answers)
        stored = variant.database != "none"
        imports = (
            f"from sqlalchemy import text\nfrom {PACKAGE}.core.db.dependencies import SessionDep" if stored else ""
        )
        probe = PROBE.format(package=PACKAGE, imports=imports, routes=DATABASE_PROBE if stored else "")
        (folder / "probe.py").write_text(probe)
        return cls(folder, environment_of(folder, python_for("3.11") or newest_python()).python, variant)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the environment of a process of the service: its settings, and none of the tests' variables."""
        return dict(clean_environment()) | {"SECRET_KEY": SECRET_KEY, "LOG_FORMAT": "json"} | dict(settings)

    def run(
        self, *arguments: str, settings: Settings | None = None, cwd: Path | None = None, typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run its Python to the end, from its own folder or, still importable, from another one.

        Args:
            arguments: The arguments of Python.
            settings: The service's settings, as environment variables.
            cwd: The working directory.
            typed: The standard input. By default it is empty.
        """
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env=self.environment({"PYTHONPATH": str(self.folder)} | dict(settings or {})),
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def migrate(self, store: Store) -> None:
        """Migrate a database to the newest version."""
        finished = self.run("-m", PACKAGE, "migrate", settings={"DATABASE_URL": store.url})
        assert finished.returncode == 0, finished.stdout + finished.stderr

    @contextlib.contextmanager
    def start(
        self, settings: Settings, *options: str, module: str = "probe", port: int | None = None
    ) -> Iterator[Service]:
        """Run the service until the end of the block.

        Args:
            settings: Its settings, as environment variables.
            options: Command-line arguments of the module.
            module: The module to run. The probe has more routes, and the package is the one that owners start.
            port: Its port. By default a free port.
        """
        port = port or free_port()
        process = subprocess.Popen(
            [self.python, "-m", module, *options],
            cwd=self.folder,
            env=self.environment({"PORT": str(port)} | dict(settings)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        service = Service(process, f"http://127.0.0.1:{port}", self.variant.error_format)
        try:
            service.wait_until_live()
            yield service
        finally:
            service.close()


class Proxy:
    """A TCP proxy for a server that can simulate network faults.

    Args:
        port: The port of the server.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: set[socket.socket] = set()
        self.cut_at: bytes | None = None
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Accept connections and data from now on, but forward nothing."""
        self._flowing.clear()

    def release(self) -> None:
        """Forward everything again, starting with the held data."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every connection."""
        for end in list(self._sockets):
            self._break(end)

    def close(self) -> None:
        """Stop the proxy and close its connections."""
        self._listener.close()
        self._flowing.set()
        self.cut()

    def __enter__(self) -> Self:
        """Use it as a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
        except OSError:
            self._break(client)
            return
        server.settimeout(None)
        self._sockets.add(server)
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        self._pump(client, server, watched=True)

    def _pump(self, source: socket.socket, target: socket.socket, *, watched: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if watched and self.cut_at and self.cut_at in data.upper():
                    self.cuts += 1
                    break
                target.sendall(data)
        self._break(source)
        self._break(target)

    def _break(self, end: socket.socket) -> None:
        self._sockets.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def order(reference: str) -> dict[str, Any]:
    """Return the body that creates an order."""
    line = {"sku": "TEA-1", "quantity": 2, "unit_price": "9.99"}
    return {"reference": reference, "customer": "Jane Doe", "lines": [line]}


def new_reference() -> str:
    """Return an unused reference."""
    return f"T-{uuid.uuid4().hex}"
