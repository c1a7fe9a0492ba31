"""Measure what a request costs a service, against the same application without everything around it."""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import effort
import postgresql
from figure import Figure, at_least, at_most, in_turn, ratios
from load import Load
from processes import Server
from services import Service, make_service

# In each start; each pair of applications is started `effort.STARTS` times.
ROUNDS = 3
HEALTH_REQUESTS = 10_000
READ_REQUESTS = 1_500
LIMIT_STARTS = 15
LIMIT_ROUNDS = 7
LIMIT_REQUESTS = 1_500
# No connection above the default size: such connections are opened again and again, which would cost both applications
# more than everything else that is measured.
POOL = {"DATABASE_POOL_SIZE": "10", "DATABASE_MAX_OVERFLOW": "0"}
# The limit counts, and is never reached.
UNLIMITED = {"RATE_LIMIT": "999999999/minute"}
PLAIN = {"auth": "none", "rate_limit": "none"}
EVERYTHING = {"cache": "memory", "http_client": "true", "streaming": "true", "websockets": "true"}


def measure_health(scratch: Path) -> list[Figure]:
    """Measure the health route of the default service, against bare FastAPI."""
    service = make_service(scratch / "default")
    started: list[dict[str, float]] = []
    for _ in range(effort.times(effort.STARTS)):
        with service.start() as server, service.start_bare("health") as bare:
            started.append(_costs({"service": (server, "/health"), "bare": (bare, "/health")}, HEALTH_REQUESTS))
    what = "health route, CPU per request of bare FastAPI against the service"
    return [_compared(what, started, 0.75)]


def measure_read(scratch: Path) -> list[Figure]:
    """Measure the read of one order by its key, against bare FastAPI with SQLAlchemy; neither has authentication."""
    what = "read by key on PostgreSQL, against bare FastAPI with SQLAlchemy"
    return _measure_read(_service_on_postgresql(scratch / "postgresql", PLAIN), "orders", what, 0.95)


def measure_auth_read(scratch: Path) -> list[Figure]:
    """Measure the same read, signed in and with everything on, against bare FastAPI with SQLAlchemy and PyJWT."""
    what = "signed-in read with everything on, against bare FastAPI with SQLAlchemy and PyJWT"
    return _measure_read(_service_on_postgresql(scratch / "everything", EVERYTHING), "orders_auth", what, 0.90)


def _measure_read(
    service_on_postgresql: AbstractContextManager[Service], bare: str, what: str, goal: float
) -> list[Figure]:
    started: list[dict[str, float]] = []
    with service_on_postgresql as service:
        with service.start() as server:
            client = Client(server.port)
            credentials = client.register() if bare == "orders_auth" else None
            order = client.create_order(client.sign_in(credentials))
        for _ in range(effort.times(effort.STARTS)):
            with ExitStack() as stack:
                servers = {
                    "service": stack.enter_context(service.start()),
                    "bare": stack.enter_context(service.start_bare(bare)),
                }
                headers = Client(servers["service"].port).sign_in(credentials)
                targets = {name: (server, f"/api/v1/orders/{order}") for name, server in servers.items()}
                started.append(_costs(targets, READ_REQUESTS, headers))
    return [_compared(what, started, goal)]


def measure_limit(scratch: Path) -> list[Figure]:
    """Measure what the rate limit costs a request, and what a limit of the route adds."""
    service = replace(make_service(scratch / "limit", auth="none"), settings=UNLIMITED)
    started: list[dict[str, float]] = []
    for _ in range(effort.times(LIMIT_STARTS)):
        with service.start_bare("limits") as server:
            targets = {name: (server, f"/measured?{name}") for name in ("without", "limited", "route")}
            started.append(_costs(targets, LIMIT_REQUESTS, rounds=LIMIT_ROUNDS))
    details = f"next to {median(costs['without'] for costs in started):.0f} µs for everything else"
    return [
        at_most(
            "rate limit, CPU per request", [each["limited"] - each["without"] for each in started], 15, details, "µs"
        ),
        Figure("for scale: a limit of the route adds", [each["route"] - each["limited"] for each in started], "µs"),
    ]


def _costs(
    targets: Mapping[str, tuple[Server, str]],
    requests: int,
    headers: Mapping[str, str] = MappingProxyType({}),
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Return the microseconds of processor time that each server needs for a request, as the median of the rounds."""
    count = effort.amount(requests)

    def cost(server: Server, path: str) -> float:
        before = server.cpu_seconds()
        Load(server.port, path, headers).run(count)
        return (server.cpu_seconds() - before) / count * 1e6

    measures = {name: partial(cost, *target) for name, target in targets.items()}
    return {name: median(values) for name, values in in_turn(measures, effort.times(rounds)).items()}


def _compared(what: str, started: Sequence[Mapping[str, float]], goal: float) -> Figure:
    """Make a figure of what a request costs a bare application, divided by what it costs the service."""
    own, other = ([costs[name] for costs in started] for name in ("service", "bare"))
    details = f"CPU per request: {median(own):.0f} µs against {median(other):.0f}"
    return at_least(what, ratios(other, own), goal, details)


@contextmanager
def _service_on_postgresql(folder: Path, answers: Mapping[str, str]) -> Iterator[Service]:
    service = make_service(folder, database="postgresql", **answers)
    with postgresql.database() as url:
        service = replace(service, settings={**POOL, **UNLIMITED, "DATABASE_URL": url})
        service.run("migrate")
        yield service


class Client:
    """Prepares a service for a measurement.

    Args:
        port: Where the service listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def register(self) -> dict[str, str]:
        """Register a user, and return the form that signs them in."""
        credentials = {"email": "jane@example.com", "password": "correct horse battery"}
        self._post("/api/v1/auth/register", json.dumps(credentials), "application/json")
        return {"username": credentials["email"], "password": credentials["password"]}

    def sign_in(self, credentials: Mapping[str, str] | None) -> dict[str, str]:
        """Return the headers of a user's requests; none without a user.

        Args:
            credentials: The form that signs the user in.
        """
        if credentials is None:
            return {}
        answer = self._post("/api/v1/auth/token", urlencode(credentials), "application/x-www-form-urlencoded")
        return {"Authorization": f"Bearer {answer['access_token']}"}

    def create_order(self, headers: Mapping[str, str]) -> uuid.UUID:
        """Create an order of two lines, and return its id."""
        lines = [
            {"sku": "BOLT-8", "quantity": 4, "unit_price": "0.35"},
            {"sku": "PLATE-2", "quantity": 1, "unit_price": "12.50"},
        ]
        order = {"reference": "A-1", "customer": "Jane Doe", "lines": lines}
        return uuid.UUID(self._post("/api/v1/orders", json.dumps(order), "application/json", headers)["id"])

    def _post(
        self, path: str, body: str, content_type: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with closing(connection):
            connection.request("POST", path, body, {"Content-Type": content_type, **headers})
            answer: dict[str, Any] = json.load(connection.getresponse())
        return answer
