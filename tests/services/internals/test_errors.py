"""Every error has one shape."""

import json
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, HTTPException
from httpx2 import AsyncClient
from pydantic import BaseModel, Field, SecretStr

from app.core.errors import ForbiddenError, NotAuthenticatedError, TooManyRequestsError
from app.main import create_app
from app.settings import Settings
from tests.conftest import connect
from tests.test_errors import error_of


class Login(BaseModel):
    """A body with a secret in it."""

    password: SecretStr = Field(min_length=8)


def add_failing_routes(app: FastAPI) -> None:
    """Add a route for each way to fail."""

    @app.get("/app-error/{name}")
    async def app_error(name: str) -> None:
        raise {
            "forbidden": ForbiddenError(),
            "not_authenticated": NotAuthenticatedError(),
            "rate_limited": TooManyRequestsError(headers={"Retry-After": "3"}),
        }[name]

    @app.get("/http-exception")
    async def http_exception() -> None:
        raise HTTPException(418, "I brew no coffee.", {"X-Pot": "tea"})

    @app.get("/client-closed")
    async def client_closed() -> None:
        raise HTTPException(499, "Gone before the answer.")

    @app.get("/not-modified")
    async def not_modified() -> None:
        raise HTTPException(304)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("password=hunter2")

    @app.post("/login")
    async def login(data: Login) -> None: ...


@pytest.fixture
async def failing(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Return a client of an application that can fail in every way."""
    app = create_app(settings)
    add_failing_routes(app)
    async with connect(app) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not_found"),
        ("/app-error/forbidden", 403, "forbidden"),
        ("/app-error/not_authenticated", 401, "not_authenticated"),
        ("/app-error/rate_limited", 429, "rate_limited"),
        ("/http-exception", 418, "im_a_teapot"),
        ("/client-closed", 499, "http_499"),
        ("/crash", 500, "internal_error"),
    ],
)
async def test_shape(failing: AsyncClient, path: str, status: int, code: str) -> None:
    """An error has the same response wherever it is raised."""
    response = await failing.get(path)
    assert response.status_code == status
    assert error_of(response)["code"] == code


async def test_headers_of_an_error_are_sent(failing: AsyncClient) -> None:
    """An error keeps the headers that belong to it."""
    assert (await failing.get("/app-error/rate_limited")).headers["retry-after"] == "3"
    assert (await failing.get("/http-exception")).headers["x-pot"] == "tea"
    assert (await failing.post("/crash")).headers["allow"] == "GET"


async def test_status_without_a_body(failing: AsyncClient) -> None:
    """A status that has no body gets none."""
    response = await failing.get("/not-modified")
    assert (response.status_code, response.content) == (304, b"")


async def test_crash_tells_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A crash shows the client an id, and the log the traceback under the same id."""
    update = {"cors_origins": ["https://a.example"], "log_format": "json"}
    app = create_app(settings.model_copy(update=update))
    add_failing_routes(app)
    async with connect(app) as client:
        response = await client.get("/crash", headers={"Origin": "https://a.example"})
    assert "hunter2" not in response.text
    assert response.headers["access-control-allow-origin"] == "https://a.example"
    assert response.headers["x-content-type-options"] == "nosniff"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [crash] = [line for line in lines if line["event"] == "unhandled_error"]
    assert "hunter2" in crash["exception"]
    assert crash["request_id"] == response.headers["x-request-id"]


@pytest.mark.usefixtures("migrated")
async def test_debug_tells_the_developer(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """In debug mode the answer names the exception, and the log has its status and the SQL in its own format."""
    app = create_app(settings.model_copy(update={"debug": True, "log_format": "json"}))
    add_failing_routes(app)
    async with connect(app) as client:
        assert "hunter2" in (await client.get("/crash")).text
        assert (await client.get("/health/ready")).status_code == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]
    assert "SELECT 1" in [line["event"] for line in lines if line["logger"].startswith("sqlalchemy.engine")]
