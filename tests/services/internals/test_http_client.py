"""The HTTP client: time limits, retries, connections."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import stamina
from httpx2 import ConnectError, HTTPError, TimeoutException, TransportError
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from app.core.http.client import HttpClient, HttpClientDep
from app.core.ids import request_id_var
from app.main import create_app
from app.settings import Settings
from tests.conftest import connect

from .upstream import HANG_UP, SILENCE, TRICKLE, Upstream, answer, open_upstream

OK = answer(200, {"answer": 42})


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Skip the waits between attempts, and ignore your proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Return another service."""
    async with open_upstream() as upstream:
        yield upstream


@pytest.fixture
async def http_client(settings: Settings) -> AsyncIterator[HttpClient]:
    """Return a client with the settings of the tests."""
    async with HttpClient(settings) as client:
        yield client


@pytest.mark.parametrize("status", [None, 429, 502, 503, 504])
async def test_temporary_trouble_is_overcome(http_client: HttpClient, upstream: Upstream, status: int | None) -> None:
    """A call is repeated after a broken connection or a temporary error."""
    trouble = answer(status) if status else HANG_UP
    upstream.answers = [trouble, trouble, OK]
    assert (await http_client.get(upstream.url)).json() == {"answer": 42}
    assert len(upstream.received) == 3


async def test_trouble_that_stays_is_told(http_client: HttpClient, settings: Settings, upstream: Upstream) -> None:
    """After the last attempt, the caller gets its response or its error."""
    upstream.answers = [answer(503, {"why": "full"})]
    response = await http_client.get(upstream.url)
    assert (response.status_code, response.json()) == (503, {"why": "full"})
    assert len(upstream.received) == settings.http_attempts
    upstream.answers = [HANG_UP]
    with pytest.raises(TransportError):
        await http_client.get(upstream.url)
    assert len(upstream.received) == 2 * settings.http_attempts


@pytest.mark.parametrize("trouble", [HANG_UP, answer(503)], ids=["hang-up", "busy"])
async def test_what_is_not_idempotent_is_sent_once(http_client: HttpClient, upstream: Upstream, trouble: bytes) -> None:
    """A POST that may have been processed is not repeated."""
    upstream.answers = [trouble, OK]
    try:
        assert (await http_client.post(upstream.url, json={"pens": 1})).status_code == 503
    except TransportError:
        assert trouble == HANG_UP
    assert len(upstream.received) == 1


@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_final_answer_is_not_asked_for_again(http_client: HttpClient, upstream: Upstream, status: int) -> None:
    """A final response is returned at once."""
    upstream.answers = [answer(status)]
    assert (await http_client.get(upstream.url)).status_code == status
    assert len(upstream.received) == 1


async def test_connection_is_tried_again_whatever_the_method(settings: Settings) -> None:
    """A request without a connection was not processed, so every method is repeated."""
    async with open_upstream() as upstream:
        url = upstream.url
    repeated: list[int] = []

    def note(details: RetryDetails) -> None:
        repeated.append(details.retry_num)

    set_on_retry_hooks([note])
    try:
        async with HttpClient(settings) as client:
            with pytest.raises(ConnectError):
                await client.post(url, json={"pens": 1})
    finally:
        set_on_retry_hooks(None)
    assert len(repeated) == settings.http_attempts - 1


async def test_body_from_a_generator_is_sent_once(http_client: HttpClient, upstream: Upstream) -> None:
    """A body from a generator cannot be sent again."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"1234"

    upstream.answers = [answer(503), OK]
    headers = {"Content-Length": "4"}
    response = await http_client.put(upstream.url, content=chunks(), headers=headers)
    assert response.status_code == 503


@pytest.mark.parametrize(
    "reply",
    [SILENCE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", TRICKLE],
    ids=["silent", "half", "trickle"],
)
async def test_slow_service_is_given_up(settings: Settings, upstream: Upstream, reply: bytes) -> None:
    """The time limit is for the whole response. A slow service gets no second request."""
    upstream.answers = [reply]
    hasty = settings.model_copy(update={"http_timeout_seconds": 0.3})
    async with HttpClient(hasty) as client:
        with pytest.raises(TimeoutException):
            await client.get(upstream.url)
    assert len(upstream.received) == 1


async def test_garbage_is_an_error(http_client: HttpClient, upstream: Upstream) -> None:
    """A response that is not HTTP is an error."""
    upstream.answers = [b"nonsense\r\n\r\n"]
    with pytest.raises(HTTPError):
        await http_client.get(upstream.url)


async def test_service_that_says_when_to_come_back(http_client: HttpClient, upstream: Upstream) -> None:
    """A response with `Retry-After` goes to the caller, which may have no time to wait."""
    upstream.answers = [answer(429, Retry_After="1"), OK]
    assert (await http_client.get(upstream.url)).status_code == 429
    assert len(upstream.received) == 1


async def test_request_id_goes_along(http_client: HttpClient, upstream: Upstream) -> None:
    """Both services log the same request id."""
    upstream.answers = [OK]
    await http_client.get(upstream.url)
    token = request_id_var.set("the-one-being-served")
    try:
        await http_client.get(upstream.url)
    finally:
        request_id_var.reset(token)
    ids = [request.headers.get("x-request-id") for request in upstream.received]
    assert ids == [None, "the-one-being-served"]


async def test_cookies_are_not_kept(http_client: HttpClient, upstream: Upstream) -> None:
    """A caller does not get the cookies of another caller."""
    upstream.answers = [answer(200, Set_Cookie="session=secret; Path=/")]
    for _ in range(2):
        await http_client.get(upstream.url)
    assert all("cookie" not in request.headers for request in upstream.received)


async def test_connections_are_bounded(settings: Settings, upstream: Upstream) -> None:
    """More calls than connections wait for a free one."""
    upstream.answers = [OK]
    small = settings.model_copy(update={"http_max_connections": 2})
    async with HttpClient(small) as client:
        responses = await asyncio.gather(*(client.get(upstream.url) for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert upstream.peak <= 2


async def test_client_lives_as_long_as_the_application(settings: Settings, upstream: Upstream) -> None:
    """All requests share one client, and the shutdown closes it."""
    app = create_app(settings)
    clients: list[HttpClient] = []
    upstream.answers = [OK]

    @app.get("/ask")
    async def ask(http_client: HttpClientDep) -> int:
        clients.append(http_client)
        return (await http_client.get(upstream.url)).status_code

    async with connect(app) as client:
        for _ in range(2):
            assert (await client.get("/ask")).json() == 200
    assert clients[0] is clients[1]
    assert clients[0].is_closed
