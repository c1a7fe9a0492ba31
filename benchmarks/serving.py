"""What a request costs the service, against what it costs the same application without everything around it."""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import postgresql
from figure import Figure, at_least, at_most, medians
from load import Load
from processes import Server
from services import Service, make_service

ROUNDS = 11
HEALTH_REQUESTS = 20_000
READ_REQUESTS = 2_000
LIMIT_PROCESSES = 15
LIMIT_ROUNDS = 7
LIMIT_REQUESTS = 1_500
# None above the default size: such a connection is made anew for every few requests, which would cost both applications
# more than all else that is measured.
POOL = {"DATABASE_POOL_SIZE": "10", "DATABASE_MAX_OVERFLOW": "0"}
# The limit counts and never refuses.
UNLIMITED = {"RATE_LIMIT": "999999999/minute"}
PLAIN = {"auth": "none", "rate_limit": "none"}
EVERYTHING = {"cache": "memory", "http_client": "true", "streaming": "true", "websockets": "true"}


def measure_health(scratch: Path) -> list[Figure]:
    """Measure the health route of the default service, against bare FastAPI."""
    service = make_service(scratch / "default")
    with service.start() as server, service.start_bare("health") as bare:
        costs = _costs({"service": (server, "/health"), "bare": (bare, "/health")}, HEALTH_REQUESTS)
    what = "health route, against bare FastAPI"
    return [at_least(what, costs["bare"] / costs["service"], 0.80, _details(costs, "bare"))]


def measure_read(scratch: Path) -> list[Figure]:
    """Measure the read of one order by its key, against bare FastAPI with SQLAlchemy; both ask nobody who they are."""
    what = "read by key (PostgreSQL), against bare FastAPI with SQLAlchemy"
    return _measure_read(_service_on_postgresql(scratch / "postgresql", PLAIN), "orders", what, 0.95)


def measure_auth_read(scratch: Path) -> list[Figure]:
    """Measure the same read, signed in and with everything on, against bare FastAPI with SQLAlchemy and PyJWT."""
    what = "signed-in read by key (PostgreSQL), all on, against bare FastAPI with SQLAlchemy and PyJWT"
    return _measure_read(_service_on_postgresql(scratch / "everything", EVERYTHING), "orders_auth", what, 0.85)


def _measure_read(
    service_on_postgresql: AbstractContextManager[Service], bare: str, what: str, goal: float
) -> list[Figure]:
    with ExitStack() as stack:
        service = stack.enter_context(service_on_postgresql)
        servers = {"service": stack.enter_context(service.start())}
        client = Client(servers["service"].port)
        headers = client.sign_in() if bare == "orders_auth" else {}
        order = client.create_order(headers)
        for name, module in (("bare", bare), ("tuned", f"{bare}_tuned")):
            servers[name] = stack.enter_context(service.start_bare(module))
        targets = {name: (server, f"/api/v1/orders/{order}") for name, server in servers.items()}
        costs = _costs(targets, READ_REQUESTS, headers)
    tuned = f"{costs['tuned'] / costs['service']:.2f} ({_details(costs, 'tuned')})"
    return [
        at_least(what, costs["bare"] / costs["service"], goal, _details(costs, "bare")),
        Figure("for scale: the same, when it collects garbage as seldom as the service", tuned),
    ]


def measure_limit(scratch: Path) -> list[Figure]:
    """Measure what the rate limit costs a request, and what a limit of the route adds."""
    service = replace(make_service(scratch / "limit", auth="none"), settings=UNLIMITED)
    measured: list[dict[str, float]] = []
    for _ in range(LIMIT_PROCESSES):
        with service.start_bare("limits") as server:
            targets = {name: (server, f"/docs?{name}") for name in ("without", "limited", "route")}
            measured.append(_costs(targets, LIMIT_REQUESTS, rounds=LIMIT_ROUNDS))
    limit = median(costs["limited"] - costs["without"] for costs in measured)
    of_route = median(costs["route"] - costs["limited"] for costs in measured)
    details = f"CPU per request, beside {median(costs['without'] for costs in measured):.0f} µs for all else"
    return [
        at_most("rate limit", limit, 15, details, "µs"),
        Figure("for scale: what a limit of the route adds", f"{of_route:.1f} µs"),
    ]


def _costs(
    targets: Mapping[str, tuple[Server, str]],
    requests: int,
    headers: Mapping[str, str] = MappingProxyType({}),
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Return the microseconds of processor time that a request takes of each server, by its path."""

    def cost(server: Server, path: str) -> float:
        before = server.cpu_seconds()
        Load(server.port, path, headers).run(requests)
        return (server.cpu_seconds() - before) / requests * 1e6

    return medians({name: partial(cost, *target) for name, target in targets.items()}, rounds)


def _details(costs: Mapping[str, float], bare: str) -> str:
    return f"CPU per request: {costs['service']:.0f} µs against {costs[bare]:.0f}"


@contextmanager
def _service_on_postgresql(folder: Path, answers: Mapping[str, str]) -> Iterator[Service]:
    service = make_service(folder, database="postgresql", **answers)
    with postgresql.database() as url:
        service = replace(service, settings={**POOL, **UNLIMITED, "DATABASE_URL": url})
        service.run("migrate")
        yield service


class Client:
    """Prepares what is measured.

    Args:
        port: Where the service listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def sign_in(self) -> dict[str, str]:
        """Register a user, and return the headers of a request of theirs."""
        credentials = {"email": "jane@example.com", "password": "correct horse battery"}
        self._post("/api/v1/auth/register", json.dumps(credentials), "application/json")
        form = urlencode({"username": credentials["email"], "password": credentials["password"]})
        answer = self._post("/api/v1/auth/token", form, "application/x-www-form-urlencoded")
        return {"Authorization": f"Bearer {answer['access_token']}"}

    def create_order(self, headers: Mapping[str, str]) -> uuid.UUID:
        """Make an order of two lines, and return its id."""
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
