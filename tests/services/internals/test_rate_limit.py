"""The rate limits of a service: windows, clients, routes and the settings."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, Depends, FastAPI, Response, WebSocket
from httpx2 import AsyncClient
from httpx2 import Response as Answer
from pydantic import SecretStr
from starlette.types import Message, Scope

from app.commands import check
from app.core.auth.tokens import AccessTokens
from app.core.errors import TooManyRequestsError
from app.core.http.rate_limit import limiter
from app.core.http.rate_limit.limiter import PARTS, Quota, RateLimiter
from app.core.http.rate_limit.limits import RouteLimit, address_of
from app.core.http.rate_limit.settings import RateLimit
from app.core.settings import SettingsError
from app.main import create_app
from app.settings import Settings, get_settings
from tests.conftest import connect

PROXY = "127.0.0.1"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the limits."""
    clock = Clock()
    monkeypatch.setattr(limiter, "monotonic", clock)
    return clock


def build_app(settings: Settings, limit: str = "3/minute", **update: object) -> FastAPI:
    """Return an application with a limit. Some of its routes have their own."""
    app = create_app(settings.model_copy(update={"rate_limit": RateLimit.parse(limit), **update}))
    shared = APIRouter(prefix="/shared", dependencies=[Depends(RouteLimit("1/hour"))])

    async def name_of(name: str = "") -> str:
        return name

    @app.websocket("/socket", dependencies=[Depends(RouteLimit("1/day"))])
    async def open_socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    limits = {
        "twice": [RouteLimit("2/second"), RouteLimit("2/hour")],
        "once": [RouteLimit("1/second")],
        "at_address": [RouteLimit("2/minute", per="address")],
        "free": [],
    }
    for name, each in limits.items():
        app.get(f"/{name}", name=name, dependencies=[Depends(limit) for limit in each])(name_of)
    for name in ("left", "right"):
        shared.get(f"/{name}", name=name)(name_of)
    app.include_router(shared)
    app.get("/things/{name}")(name_of)
    return app


@pytest.fixture
async def limited(settings: Settings, clock: Clock) -> AsyncIterator[AsyncClient]:
    """Return a client of an application that takes three requests a minute from each client."""
    async with connect(build_app(settings, trusted_proxies=[PROXY])) as client:
        yield client


async def ask(client: AsyncClient, times: int = 1, address: str = "203.0.113.7") -> list[int]:
    """Send requests from an address and return the statuses of the answers."""
    headers = {"X-Forwarded-For": address}
    return [(await client.get("/things/pen", headers=headers)).status_code for _ in range(times)]


def budget_of(response: Answer) -> tuple[int, int, int]:
    """Return the limit that a response reports, what is left of it, and when there is more."""
    limit, remaining, reset = (int(response.headers[f"ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    return limit, remaining, reset


class Windows:
    """A limiter with one limit, for tests of windows."""

    def __init__(self, settings: Settings, requests: int, seconds: int, clients: int = 10) -> None:
        self.limiter = RateLimiter(settings.model_copy(update={"rate_limit_clients": clients}))
        self.limit = RateLimit(requests, seconds)

    async def count(self, key: object = "client") -> tuple[bool, Quota]:
        """Return whether a request is counted, and what is left."""
        quotas: list[Quota] = []
        try:
            await self.limiter.count(key, self.limit, quotas)
        except TooManyRequestsError:
            return False, quotas[-1]
        return True, quotas[-1]


async def test_limit_is_reported_and_kept(limited: AsyncClient, clock: Clock) -> None:
    """Each answer reports what is left; when nothing is, a 429 reports how long to wait."""
    for left in (2, 1, 0):
        assert budget_of(await limited.get("/things/pen")) == (3, left, 60 - 10 * (2 - left))
        clock.now += 10
    refusal = await limited.get("/things/pen")
    assert refusal.status_code == 429
    assert refusal.headers["retry-after"] == "30"
    assert budget_of(refusal) == (3, 0, 30)
    assert "rate_limited" in refusal.text
    assert refusal.headers["x-request-id"] in refusal.text
    clock.now += 29.9
    assert (await limited.get("/things/pen")).headers["retry-after"] == "1"
    clock.now += 0.1
    assert budget_of(await limited.get("/things/pen")) == (3, 0, 10)
    assert (await limited.get("/things/pen")).status_code == 429


async def test_shared_response_stays_as_it_is(settings: Settings, clock: Clock) -> None:
    """A response object that a route returns each time gets no headers of earlier requests."""
    app = build_app(settings)
    shared = Response("text")

    @app.get("/same")
    async def get_same() -> Response:
        return shared

    async with connect(app) as client:
        for left in ("2", "1"):
            response = await client.get("/same")
            assert response.headers.get_list("ratelimit-remaining") == [left]


async def test_refused_requests_do_not_count(limited: AsyncClient, clock: Clock) -> None:
    """A client that repeats refused requests is served again as soon as one that waits."""
    assert await ask(limited, times=3) == [200] * 3
    for _ in range(59):
        clock.now += 1
        assert await ask(limited) == [429]
    clock.now += 1
    assert await ask(limited) == [200]


@pytest.mark.parametrize("requests", [7, 5 * PARTS])
async def test_no_window_holds_more_than_the_limit(settings: Settings, clock: Clock, requests: int) -> None:
    """No minute has more requests than the limit. A request counts for at most 1/60 too long."""
    windows = Windows(settings, requests, 60)
    admitted, refused = list[float](), 0
    while len(admitted) < 10 * requests:
        # Bursts and pauses, with more requests than the limit.
        attempt = len(admitted) + refused
        clock.now += (0, 0, 0.001, attempt * 0.618 % 1 * 180 / requests)[attempt % 4]
        accepted, quota = await windows.count()
        # The clock is a float: a request may count for a millionth longer or shorter.
        at_least, at_most = (
            len(admitted) - bisect_right(admitted, clock.now - seconds) + accepted for seconds in (60 - 1e-6, 61 + 1e-6)
        )
        assert at_least <= requests - quota.remaining <= at_most
        assert len(windows.limiter.windows["client"]) <= PARTS + 1
        if accepted:
            admitted.append(clock.now)
        else:
            refused += 1
    assert refused > requests


@pytest.mark.parametrize("requests", [1, 3, 1000])
async def test_client_that_waits_is_served(settings: Settings, clock: Clock, requests: int) -> None:
    """A client that waits for as long as a refusal reports is served."""
    windows = Windows(settings, requests, 1)
    for _ in range(requests):
        await windows.count()
        clock.now += 0.9 / requests
    accepted, quota = await windows.count()
    assert not accepted
    assert quota.reset_seconds == 1
    clock.now += quota.reset_seconds
    assert (await windows.count())[0]


@pytest.mark.parametrize("now", [495.7, 1023.456, 2047.3, 1e9 + 0.1])
async def test_wait_is_not_rounded_up_twice(settings: Settings, clock: Clock, now: float) -> None:
    """The wait after the first request is the length of the window, whatever the clock shows."""
    clock.now = now
    for seconds in (1, 60, 3600, 86400):
        assert (await Windows(settings, 1, seconds).count())[1].reset_seconds == seconds


async def test_longest_idle_clients_are_forgotten(settings: Settings, clock: Clock) -> None:
    """Memory is bounded."""
    windows = Windows(settings, 1, 60, clients=10)
    for number in range(100):
        await windows.count(number)
        await windows.count(0)
    assert len(windows.limiter.windows) == 10
    assert not (await windows.count(0))[0]
    assert (await windows.count(1))[0]


async def test_health_routes_are_exempt(limited: AsyncClient) -> None:
    """Probes are served when the limit of their address is used up."""
    assert await ask(limited, times=4, address="") == [200, 200, 200, 429]
    for path in ("/health", "/health/ready"):
        response = await limited.get(path)
        assert response.status_code != 429
        assert "ratelimit-limit" not in response.headers


async def test_route_has_its_own_limit(settings: Settings, clock: Clock) -> None:
    """A request counts for the limit of all routes first, and then for that of its route."""
    async with connect(build_app(settings)) as client:
        assert budget_of(await client.get("/once")) == (1, 0, 1)
        refusal = await client.get("/once")
        assert (refusal.status_code, budget_of(refusal)) == (429, (1, 0, 1))
        assert refusal.headers["retry-after"] == "1"
        clock.now += 1
        # The limit of all routes has counted all three.
        assert budget_of(await client.get("/once")) == (3, 0, 59)
        clock.now += 1
        for path in ("/once", "/free"):
            refusal = await client.get(path)
            assert (refusal.status_code, budget_of(refusal)) == (429, (3, 0, 58))
            assert refusal.headers["retry-after"] == "58"
        clock.now += 58
        assert budget_of(await client.get("/once")) == (1, 0, 1)


async def test_route_can_have_two_limits(settings: Settings, clock: Clock) -> None:
    """Each has to accept a request; the tightest one is reported."""
    async with connect(build_app(settings, "9/minute")) as client:
        for left in (1, 0):
            assert budget_of(await client.get("/twice")) == (2, left, 3600)
        refusal = await client.get("/twice")
        assert (refusal.status_code, budget_of(refusal)) == (429, (2, 0, 1))
        clock.now += 1
        assert (await client.get("/twice")).headers["retry-after"] == "3599"
        assert budget_of(await client.get("/free")) == (9, 4, 59)


async def test_limit_of_a_router_is_one_for_each_route(settings: Settings, clock: Clock) -> None:
    """Routes do not share the limit of their router."""
    async with connect(build_app(settings, "9/minute")) as client:
        paths = ["/shared/left", "/shared/right", "/shared/left", "/shared/right"]
        statuses = [(await client.get(path)).status_code for path in paths]
    assert statuses == [200, 200, 429, 429]


async def test_refusal_comes_before_the_other_dependencies(settings: Settings, clock: Clock) -> None:
    """A limit that is listed first is checked before sessions, parameters and the body."""
    app, called = build_app(settings), []

    async def costly() -> None:
        called.append("costly")

    @app.post("/costly", dependencies=[Depends(RouteLimit("1/day")), Depends(costly)])
    async def work(number: int, body: dict[str, int]) -> None:
        called.append("work")

    async with connect(app) as client:
        assert (await client.post("/costly?number=1", json={})).status_code == 200
        refusals = [
            await client.post("/costly?number=1", json={}),
            await client.post("/costly?number=none", json=[]),
        ]
    assert [refusal.status_code for refusal in refusals] == [429, 429]
    assert called == ["costly", "work"]


async def test_addresses_count_apart(limited: AsyncClient) -> None:
    """The address is the one that a trusted proxy saw; an IPv6 network is one client."""
    assert await ask(limited, times=4, address="203.0.113.7") == [200, 200, 200, 429]
    assert await ask(limited, address="203.0.113.7, 127.0.0.1") == [429]
    assert await ask(limited, address="198.51.100.1, 203.0.113.7") == [429]
    assert await ask(limited, address="::ffff:203.0.113.7") == [429]
    assert await ask(limited, address="203.0.113.8") == [200]
    networks = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3", "2001:db8:0:2::1"]
    assert [await ask(limited, address=each) for each in networks] == [[200]] * 4
    assert await ask(limited, address="2001:db8:0:1::4") == [429]


async def test_peers_without_an_address_are_one_client(limited: AsyncClient) -> None:
    """Made-up names, which only a trusted proxy could bring, do not evade the limit."""
    names = ["unknown", "a:b:c", "fe80::1%eth0%x", "_hidden"]
    assert [(await ask(limited, address=name))[0] for name in names] == [200, 200, 200, 429]


def test_addresses_are_told_apart() -> None:
    """No address of one family is that of another."""
    hosts = ["", "1.2.3.4", "102:304::", "::1.2.3.4", "::1:0:0:0:0", "fe80::1%eth0", "1.2.3.4\0"]
    assert len({address_of({"client": (host, 1)}) for host in hosts}) == len(hosts) - 1
    assert address_of({}) is None
    assert address_of({"client": None}) is None


async def test_forged_address_changes_nothing(settings: Settings, clock: Clock) -> None:
    """Without a trusted proxy, X-Forwarded-For does not count."""
    async with connect(build_app(settings)) as client:
        statuses = [await ask(client, address=f"203.0.113.{n}") for n in range(4)]
    assert statuses == [[200], [200], [200], [429]]


async def test_page_can_read_the_limit(settings: Settings, clock: Clock) -> None:
    """Pages of a listed origin may read a refusal and its headers; preflights are not counted."""
    app = build_app(settings, limit="1/minute", cors_origins=["https://a.example"])
    origin = {"Origin": "https://a.example"}
    async with connect(app) as client:
        for _ in range(2):
            asking = {**origin, "Access-Control-Request-Method": "GET"}
            assert (await client.options("/free", headers=asking)).status_code == 200
        assert (await client.get("/free", headers=origin)).status_code == 200
        refusal = await client.get("/free", headers=origin)
    assert refusal.status_code == 429
    assert refusal.headers["access-control-allow-origin"] == "https://a.example"
    exposed = refusal.headers["access-control-expose-headers"].lower().split(", ")
    for name in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"):
        assert name in exposed


async def test_routes_document_the_refusal(settings: Settings) -> None:
    """In the OpenAPI document, every route of the API may be refused, and no health route."""
    async with connect(build_app(settings)) as client:
        document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            limited = "Retry-After" in operation["responses"].get("429", {}).get("headers", {})
            assert limited is path.startswith("/api/v1/")


async def shake_hands(app: FastAPI, state: Mapping[str, Any] | None, path: str, *subprotocols: str) -> Message:
    """Return the first answer to the handshake of a WebSocket."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {
        "type": "websocket",
        "path": path,
        "headers": [],
        "query_string": b"",
        "subprotocols": subprotocols,
        "state": dict(state or {}),
    }
    await app(scope, receive, send)
    return sent[0]


async def test_handshakes_count(settings: Settings, clock: Clock) -> None:
    """A WebSocket is refused before it is accepted, by the limit of all routes or by its own."""
    app = build_app(settings)
    async with app.router.lifespan_context(app) as state:
        assert (await shake_hands(app, state, "/socket"))["type"] == "websocket.accept"
        own = await shake_hands(app, state, "/socket")
        # Both handshakes count for the limit of all routes.
        assert (await shake_hands(app, state, "/nowhere"))["status"] == 404
        general = await shake_hands(app, state, "/nowhere")
    for refusal, limit, wait in ((own, b"1", b"86400"), (general, b"3", b"60")):
        assert (refusal["type"], refusal["status"]) == ("websocket.http.response.start", 429)
        headers = dict(refusal["headers"])
        assert headers[b"ratelimit-limit"] == limit
        assert headers[b"retry-after"] == headers[b"ratelimit-reset"] == wait


async def test_handshake_of_a_user(settings: Settings, clock: Clock) -> None:
    """A page, which can only send its token as a subprotocol, counts as its user."""
    app = build_app(settings, "1/minute")
    async with app.router.lifespan_context(app) as state:
        assert state
        statuses = [
            (await shake_hands(app, state, "/nowhere", "bearer", state["tokens"].issue(user, 0)))["status"]
            for user in (uuid4(), uuid4())
            for _ in range(2)
        ]
    assert statuses == [404, 429, 404, 429]


def bearer(state: dict[str, Any], user_id: UUID | None = None) -> dict[str, str]:
    """Return the headers of a user, each time with another token."""
    return {"Authorization": f"Bearer {state['tokens'].issue(user_id or uuid4(), version=0)}"}


async def test_users_count_apart(settings: Settings, state: dict[str, Any], clock: Clock) -> None:
    """Users at one address have their own limits. All tokens of a user share one."""
    async with connect(build_app(settings)) as client:
        for user in (uuid4(), uuid4()):
            answers = [await client.get("/free", headers=bearer(state, user)) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert (await client.get("/free")).status_code == 200
        for user in (uuid4(), uuid4()):
            answers = [await client.get("/once", headers=bearer(state, user)) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 429]


async def test_invalid_token_counts_as_the_address(settings: Settings, state: dict[str, Any], clock: Clock) -> None:
    """Made-up tokens do not evade the limit."""
    forged = AccessTokens(settings.model_copy(update={"secret_key": SecretStr("?" * 32)}))
    valid = bearer(state)["Authorization"].removeprefix("Bearer ")
    async with connect(build_app(settings)) as client:
        statuses = [
            (await client.get("/free", headers={"Authorization": value})).status_code
            for value in (
                f"Bearer {forged.issue(uuid4(), version=0)}",
                f"Basic {valid}",
                f"Bearer {valid}x",
                "Bearer",
            )
        ]
    assert statuses == [200, 200, 200, 429]


async def test_route_can_count_by_address(settings: Settings, state: dict[str, Any], clock: Clock) -> None:
    """Users at one address share a limit by address."""
    async with connect(build_app(settings)) as client:
        answers = [await client.get("/at_address", headers=bearer(state)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RATE_LIMIT", "0/minute", "600/minute"),
        ("RATE_LIMIT", "10/fortnight", "600/minute"),
        ("RATE_LIMIT", "10", "600/minute"),
        ("RATE_LIMIT_ROUTES", "POST /api/v1/auth/token=10/minute", "create_item=10/minute"),
        ("RATE_LIMIT_ROUTES", "log_in", "create_item=10/minute"),
        ("RATE_LIMIT_ROUTES", "log_in=10/minute,=10/minute", "create_item=10/minute"),
        ("RATE_LIMIT_ROUTES", "log_in=often", "600/minute"),
        ("RATE_LIMIT_ROUTES", "log_in=10/minute/address", "600/minute"),
        ("RATE_LIMIT_CLIENTS", "0", "greater than or equal to 1"),
    ],
)
def test_invalid_limits_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """The start names the setting and shows the format."""
    monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with pytest.raises(SettingsError) as raised:
        get_settings()
    assert str(raised.value).splitlines()[1].startswith(f"{name} ")
    assert message in str(raised.value)


def test_limits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits come from the environment."""
    monkeypatch.setenv("RATE_LIMIT", "5/second")
    monkeypatch.setenv("RATE_LIMIT_ROUTES", "log_in=1/hour, register_user=2/day,")
    get_settings.cache_clear()
    assert get_settings().rate_limit == RateLimit(5, seconds=1)
    assert get_settings().rate_limit_routes == {
        "log_in": RateLimit(1, seconds=3600),
        "register_user": RateLimit(2, seconds=86400),
    }


UNKNOWN = {"log_inn": RateLimit(1, 60), "log_out": RateLimit(1, 60), "log_in": RateLimit(1, 60)}
LIMITED = "change_password, log_in, refresh_tokens, register_user"
FAULT = f"RATE_LIMIT_ROUTES has log_inn, log_out, but the routes with a limit are: {LIMITED}"


def test_check_names_a_route_without_a_limit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit that limits nothing fails the check before a deploy, which lists the right names."""
    useless = settings.model_copy(update={"rate_limit_routes": UNKNOWN})
    monkeypatch.setattr(check, "get_settings", lambda: useless)
    assert check.main() == 1
    assert capsys.readouterr().err == f"{FAULT}\n"


async def test_start_names_a_route_without_a_limit(settings: Settings) -> None:
    """A limit for a route that does not exist fails the start."""
    app = create_app(settings.model_copy(update={"rate_limit_routes": UNKNOWN}))
    with pytest.raises(SettingsError) as raised:
        async with connect(app):
            pass
    assert str(raised.value) == FAULT


async def test_every_limited_route_can_be_named(settings: Settings) -> None:
    """RATE_LIMIT_ROUTES can name a WebSocket, and routes whose router has the limit."""
    names = ["twice", "once", "left", "right", "open_socket", "at_address", "log_in"]
    update = {"rate_limit_routes": {name: RateLimit(1, seconds=60) for name in names}}
    async with connect(build_app(settings, "90/minute", **update)) as client:
        for path in ("/twice", "/once", "/shared/left", "/shared/right"):
            statuses = [(await client.get(path)).status_code for _ in range(2)]
            assert statuses == [200, 429]
            assert (await client.get(path)).headers["retry-after"] == "60"
