"""The rate limit of clients, which forged addresses cannot bypass."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

import pytest

from tests.services.behaviour.accounts import NO_LIMITS
from tests.services.behaviour.conftest import ORIGIN
from tests.services.behaviour.variants import where
from tests.services.running import PACKAGE, Project, Service, Variant, new_reference

LIMITS = (("rate_limit", "memory"),)
SIGNED_IN = (("auth", "jwt"), *LIMITS)
CLIENTS = 64
HEADERS = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")

VARIANTS = (
    Variant("feature", "none", "envelope", LIMITS),
    Variant("layered", "sqlite", "problem", LIMITS),
    Variant("feature", "sqlite", "envelope", SIGNED_IN),
)
in_both_formats = where(lambda variant: not variant.has_auth, VARIANTS)
once = where(lambda variant: variant.database == "none", VARIANTS)
signed_in = where(lambda variant: variant.has_auth, VARIANTS)


def statuses(service: Service, times: int, *forwarded_for: str, path: str = "/docs") -> list[int]:
    """Send requests, and replace `{}` in the lines of X-Forwarded-For with a new number each time."""
    return [
        service.request(
            "GET", path, headers=[("X-Forwarded-For", line.replace("{}", str(number))) for line in forwarded_for]
        ).status_code
        for number in range(times)
    ]


@once
def test_no_window_holds_more_than_the_limit(project: Project, settings: dict[str, str]) -> None:
    """With 64 fast clients at one address no window of a second has more requests than the limit."""
    limit, seconds = 50, 4.0

    def ask(service: Service) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)) as connection:
            while time.monotonic() < end:
                connection.request("GET", "/probe/client")
                connection.getresponse().read()

    with project.start(settings | {"RATE_LIMIT": f"{limit}/second"}) as service, ThreadPoolExecutor(CLIENTS) as threads:
        end = time.monotonic() + seconds
        for asked in [threads.submit(ask, service) for _ in range(CLIENTS)]:
            asked.result()
        service.terminate()
        service.wait()
        events = service.events(event="request")
    # Each request was accepted at some time between these two.
    admitted = sorted(
        (ended - event["duration_ms"] / 1000 - 0.0001, ended)
        for event in events
        if event["route"] == "/probe/client"
        for ended in [datetime.fromisoformat(event["timestamp"]).timestamp()]
    )
    assert sum(event["status"] == 429 for event in events) > limit * seconds
    assert len(admitted) >= limit * (seconds - 1)
    for (first, _), (_, last) in zip(admitted, admitted[limit:], strict=False):
        assert last - first >= 1


@once
@pytest.mark.parametrize("trusted", ["", "10.0.0.1", "203.0.113.0/24"])
def test_forged_address_changes_nothing(project: Project, settings: dict[str, str], trusted: str) -> None:
    """X-Forwarded-For from an untrusted client has no effect on its address."""
    with project.start(settings | {"RATE_LIMIT": "5/day", "TRUSTED_PROXIES": trusted}) as service:
        forged = ["203.0.113.{}", "10.0.0.1, 10.0.0.{}"]
        assert statuses(service, 10, *forged) == [200] * 5 + [429] * 5
        for name in ("Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP", "CF-Connecting-IP"):
            assert service.request("GET", "/docs", headers={name: "for=203.0.113.99"}).status_code == 429


@once
@pytest.mark.parametrize(
    ("trusted", "hops", "client"),
    [
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.{}, 203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.{}", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1,10.0.0.0/8", ["203.0.113.7, 10.1.2.{}"], "203.0.113.7"),
        (
            "127.0.0.1,10.1.2.3/8",
            ["198.51.100.{}, 127.0.0.1, 203.0.113.7, 10.1.2.{}, 10.1.2.3"],
            "203.0.113.7",
        ),
        ("127.0.0.1", ["[2001:db8::1:{}]:80{}, 203.0.113.7:80{}"], "203.0.113.7"),
        ("127.0.0.1", ["2001:db8::1:{}"], "2001:db8::9:9"),
        ("127.0.0.1", ["unknown{}"], "hidden"),
    ],
)
def test_trusted_proxy_tells_the_client(
    project: Project, settings: dict[str, str], trusted: str, hops: list[str], client: str
) -> None:
    """Behind trusted proxies the client is the address that the last of them saw."""
    with project.start(settings | {"RATE_LIMIT": "5/day", "TRUSTED_PROXIES": trusted}) as service:
        assert statuses(service, 7, *hops) == [200] * 5 + [429] * 2
        assert statuses(service, 1, client) == [429]
        assert statuses(service, 6, "203.0.113.8") == [200] * 5 + [429]
        # Requests of the proxies themselves have their own limits.
        assert statuses(service, 6) == [200] * 5 + [429]


@in_both_formats
def test_refusal_is_uniform(project: Project, settings: dict[str, str]) -> None:
    """A refusal is the uniform error with the headers that a client and a browser need."""
    with project.start(settings | {"RATE_LIMIT": "1/hour"}) as service:
        first = service.client.get("/api/v1/orders", headers={"Origin": ORIGIN})
        assert first.status_code == 200
        assert [first.headers[name] for name in HEADERS] == ["1", "0", "3600"]
        for method, path in (("GET", "/api/v1/orders"), ("POST", "/api/v1/orders"), ("GET", "/nowhere")):
            refusal = service.client.request(method, path, headers={"Origin": ORIGIN})
            assert service.failure(refusal, 429).code == "rate_limited"
            assert [refusal.headers[name] for name in HEADERS[:2]] == ["1", "0"]
            assert 3590 <= int(refusal.headers["retry-after"]) <= 3600
            assert refusal.headers["ratelimit-reset"] == refusal.headers["retry-after"]
            assert refusal.headers["access-control-allow-origin"] == ORIGIN
            exposed = refusal.headers["access-control-expose-headers"].lower().split(", ")
            assert {*HEADERS, "retry-after", "x-request-id"} <= {*exposed}
            assert refusal.headers["x-content-type-options"] == "nosniff"
            assert "x-process-time-ms" in refusal.headers
        preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        assert service.client.options("/api/v1/orders", headers=preflight).status_code == 200
        assert service.wait_for_event(event="request", status=429)["client"] == "127.0.0.1"


@in_both_formats
def test_every_answer_tells_the_limit(project: Project, settings: dict[str, str]) -> None:
    """Every response, including errors, contains the remaining requests."""
    with project.start(settings | {"RATE_LIMIT": "100/hour"}) as service:
        answers = [
            service.create_order(new_reference()),
            service.client.post("/api/v1/orders", json={}),
            service.client.get("/nowhere"),
            service.client.delete("/api/v1/orders"),
            service.client.post("/api/v1/orders", json={"note": "x" * 1_100_000}),
            service.client.get("/probe/fail"),
        ]
        assert [answer.status_code for answer in answers] == [201, 422, 404, 405, 413, 500]
        left = [int(answer.headers["ratelimit-remaining"]) for answer in answers]
        assert left == [99, 98, 97, 96, 95, 94]


@signed_in
def test_limits_of_routes(project: Project, settings: dict[str, str]) -> None:
    """A route has its own limit next to the global one, and a setting replaces its numbers."""
    form = {"username": "nobody@shop.example", "password": "a phrase that is wrong"}
    limits = {"RATE_LIMIT": "20/day", "RATE_LIMIT_ROUTES": "log_in=2/day, refresh_tokens=3/hour"}
    with project.start(settings | limits) as service:
        tried = [service.request("POST", "/api/v1/auth/token", data=form) for _ in range(4)]
        assert [answer.status_code for answer in tried] == [401, 401, 429, 429]
        assert [answer.headers["ratelimit-limit"] for answer in tried] == ["2"] * 4
        assert [answer.headers["ratelimit-remaining"] for answer in tried] == ["1", "0", "0", "0"]
        path = "/api/v1/auth/refresh"
        invalid = [service.request("POST", path, json={"refresh_token": value}) for value in ("", "a", 1, None)]
        assert [answer.headers["ratelimit-limit"] for answer in invalid] == ["3"] * 4
        assert invalid[-1].status_code == 429
        assert 3590 <= int(invalid[-1].headers["retry-after"]) <= 3600
        # The default of another route holds. The limit of all routes counts each of these nine requests.
        assert service.request("POST", "/api/v1/auth/register", json={}).headers["ratelimit-limit"] == "10"
        listed = [service.request("GET", "/docs") for _ in range(12)]
        assert [answer.status_code for answer in listed] == [200] * 11 + [429]
        assert listed[0].headers["ratelimit-remaining"] == "10"


@once
def test_client_that_waits_is_served(project: Project, settings: dict[str, str]) -> None:
    """A client that waits for `Retry-After` is served, even if other clients continue."""
    with project.start(settings | {"RATE_LIMIT": "2/second"}) as service:
        for _ in range(3):
            assert statuses(service, 3)[0] == 200
            refusal = service.client.get("/docs")
            assert (refusal.status_code, refusal.headers["retry-after"]) == (429, "1")
            time.sleep(1.02)


@once
def test_probes_are_exempt(project: Project, settings: dict[str, str]) -> None:
    """Health routes are served after the limit is reached, and do not count."""
    with project.start(settings | {"RATE_LIMIT": "1/day"}) as service:
        for _ in range(20):
            for path in ("/health", "/health/ready"):
                answer = service.client.get(path)
                assert answer.status_code == 200
                assert not any(name in answer.headers for name in HEADERS)
        assert statuses(service, 2) == [200, 429]
        assert statuses(service, 20, path="/health") == [200] * 20


@once
def test_handshakes_count(project: Project, settings: dict[str, str]) -> None:
    """A WebSocket handshake counts as a request and is refused with 429 before it is accepted."""
    handshake = (
        b"GET /nowhere HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with project.start(settings | {"RATE_LIMIT": "2/day"}) as service:
        answers = [service.raw(handshake) for _ in range(3)]
        assert {answer.status_code for answer in answers[:2]} <= {403, 404}
        assert answers[2].status_code == 429
        assert answers[2].json()["error"]["code"] == "rate_limited"
        assert int(answers[2].headers["retry-after"]) > 86_000
        assert service.client.get("/docs").status_code == 429


@once
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT", "often"),
        ("RATE_LIMIT", "-1/minute"),
        ("RATE_LIMIT_ROUTES", "POST /api/v1/orders"),
        ("RATE_LIMIT_CLIENTS", "none"),
    ],
)
def test_fault_in_the_settings(project: Project, name: str, value: str) -> None:
    """An invalid limit is reported by `check`."""
    finished = project.run("-m", PACKAGE, "check", settings={name: value})
    assert finished.returncode != 0
    assert name in finished.stderr
    assert "Traceback" not in finished.stderr


LIMITED = "the routes with a limit are: change_password, log_in, refresh_tokens, register_user"


@signed_in
def test_limit_for_no_route(project: Project, settings: dict[str, str]) -> None:
    """A name that is not a limited route stops the start, because it would protect no route."""
    settings = settings | {"RATE_LIMIT_ROUTES": "log_in=1/day,read_health=1/day,log_out=1/day"}
    finished = project.run("-m", PACKAGE, settings=settings)
    assert finished.returncode == 3
    checked = project.run("-m", PACKAGE, "check", settings=settings)
    assert checked.returncode == 1
    assert checked.stderr == f"RATE_LIMIT_ROUTES has log_out, read_health, but {LIMITED}\n"
    assert checked.stderr.strip() in finished.stdout


@once
def test_limits_by_path_are_refused(project: Project, settings: dict[str, str]) -> None:
    """The format of earlier versions stops the start, and the error shows the new format."""
    settings = settings | {"RATE_LIMIT_ROUTES": "POST /api/v1/orders=1/day"}
    for finished in (
        project.run("-m", PACKAGE, settings=settings),
        project.run("-m", PACKAGE, "check", settings=settings),
    ):
        assert finished.returncode != 0
        assert "RATE_LIMIT_ROUTES has 'POST /api/v1/orders=1/day'" in finished.stderr
        assert "create_item=10/minute" in finished.stderr
        assert "Traceback" not in finished.stderr


MILLION = """
import resource
from time import thread_time
from {package}.core.http.rate_limit.limiter import RateLimiter
from {package}.core.http.rate_limit.limits import RateLimitMiddleware
from {package}.settings import Settings

async def respond(*_):
    pass

limiter = RateLimiter(Settings(_env_file=None))
serve = RateLimitMiddleware(respond)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
worst = 0.0
scope = {{"type": "http", "path": "/", "headers": [], "state": {{"rate_limiter": limiter}}}}
for number in range(500_000):
    high, low = divmod(number, 1 << 16)
    # One has an address of its own, the other a network.
    for client in (f"10.{{high}}.{{low >> 8}}.{{low & 255}}", f"2001:db8:{{high}}:{{low:x}}::1"):
        scope["client"] = client, 1
        started = thread_time()
        try:
            serve(scope, None, None).send(None)
        except StopIteration:
            pass
        worst = max(worst, thread_time() - started)
print(len(limiter.windows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, worst)
"""


@once
def test_a_million_clients(project: Project) -> None:
    """A million clients with different addresses use bounded memory, and none waits for a cleanup."""
    finished = project.run("-c", MILLION.format(package=PACKAGE))
    assert finished.returncode == 0, finished.stderr
    remembered, kilobytes, worst_seconds = map(float, finished.stdout.split())
    assert remembered == 100_000
    assert kilobytes < 100_000
    assert worst_seconds < 0.1


def token_of(service: Service, email: str) -> str:
    """Return an access token of a user, who is registered on first use."""
    account = {"email": email, "password": "a phrase that only the tests log in with"}
    registered = service.request("POST", "/api/v1/auth/register", json=account)
    assert registered.status_code in {201, 409}, registered.text
    form = {"username": email, "password": account["password"]}
    answer = service.request("POST", "/api/v1/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def statuses_with(service: Service, *tokens: str) -> list[int]:
    """Request the list of orders with each of these tokens."""
    return [
        service.request("GET", "/api/v1/orders", headers={"Authorization": f"Bearer {token}"}).status_code
        for token in tokens
    ]


@signed_in
def test_users_count_apart(project: Project, settings: dict[str, str]) -> None:
    """Each user has a separate limit. Further tokens of a user do not raise it, and forged ones count per address."""
    limits = {"RATE_LIMIT": "6/day", "RATE_LIMIT_ROUTES": NO_LIMITS}
    with project.start(settings | limits) as service:
        # Six requests, which reach the limit of the address.
        jane, other, joe = (
            token_of(service, email) for email in ("jane@shop.example", "jane@shop.example", "joe@shop.example")
        )
        assert jane != other
        head, body, signature = jane.split(".")
        forged = [f"{head}.{body}.{signature[::-1]}", f"{head}.{body}.", "nonsense"]
        assert statuses_with(service, *forged) == [429] * len(forged)
        assert statuses_with(service, jane, other, jane, other, jane, other, jane, other) == [200] * 6 + [429] * 2
        assert statuses_with(service, joe, joe) == [200, 200]


@signed_in
def test_guesses_are_limited(project: Project, settings: dict[str, str]) -> None:
    """By default an address has ten sign-ins a minute, for all users together."""
    with project.start(settings) as service:
        tokens = [token_of(service, f"user{number}@shop.example") for number in range(3)]
        form = {"username": "user0@shop.example", "password": "a wrong phrase, by somebody who guesses"}
        answers = [
            service.request(
                "POST",
                "/api/v1/auth/token",
                data=form,
                headers={"Authorization": f"Bearer {tokens[number % 3]}", "X-Forwarded-For": f"203.0.113.{number}"},
            )
            for number in range(9)
        ]
        assert [answer.status_code for answer in answers] == [401] * 7 + [429] * 2
        assert service.failure(answers[-1], 429).code == "rate_limited"
        assert answers[-1].headers["ratelimit-limit"] == "10"
        # Failed sign-ins do not limit other requests of these users.
        assert statuses_with(service, *tokens) == [200] * 3
