"""PostgreSQL only: ended connections, and URLs."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import make_url, text

from app.core.db.url import split_parameters
from app.core.errors import UnavailableError
from app.core.settings import SettingsError
from app.settings import get_settings
from tests.conftest import State


async def test_broken_connection_is_unavailable(app: FastAPI, state: State) -> None:
    """A server that ends the connection under a request is not the client's fault."""
    with pytest.raises(UnavailableError):
        async with state["database"].session() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await state["database"].check()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "oracle://scott@localhost/app",
        "postgresql+asyncpg://app@database/app?prepared_statement_cache_size=none",
    ],
)
def test_foreign_database_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    """Reject at the start a URL with which the driver cannot connect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", url)
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        get_settings()


def test_parameters_of_libpq_reach_the_driver() -> None:
    """Pass on what providers add to their URLs, under names that the driver knows."""
    url = make_url("postgresql+asyncpg://app@database/app?sslmode=require&application_name=a+b")
    plain, libpq = split_parameters(url)
    assert plain.render_as_string() == "postgresql+asyncpg://app@database/app"
    assert libpq == "postgresql://?application_name=a+b&sslmode=require"
