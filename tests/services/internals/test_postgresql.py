"""PostgreSQL only: ended connections, and URLs."""

import pytest
from fastapi import FastAPI
from sqlalchemy import make_url, text

from app.core.db.engine import split_parameters
from app.core.errors import UnavailableError
from tests.conftest import State


async def test_broken_connection_is_unavailable(app: FastAPI, state: State) -> None:
    """A server that ends the connection under a request is not the client's fault."""
    with pytest.raises(UnavailableError):
        async with state["database"].session() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await state["database"].check()


def test_parameters_of_libpq_reach_the_driver() -> None:
    """Pass on what providers add to their URLs, under names that the driver knows."""
    url = make_url("postgresql+asyncpg://app@database/app?sslmode=require&application_name=a+b")
    plain, libpq = split_parameters(url)
    assert plain.render_as_string() == "postgresql+asyncpg://app@database/app"
    assert libpq == "postgresql://?application_name=a+b&sslmode=require"
