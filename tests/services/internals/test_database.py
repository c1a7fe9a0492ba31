"""The database: migrations, sessions and what their failures become."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, delete, event, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from app.core.db.database import Database, open_database, publisher
from app.core.db.dependencies import SessionDep
from app.core.db.settings import DRIVER
from app.core.errors import ConflictError, UnavailableError
from app.core.events import Dispatcher, Subscriber
from app.core.settings import SettingsError
from app.core.startup import Startup
from app.main import create_app
from app.settings import Settings, get_settings
from tests.conftest import State, connect

from .test_domain_events import Happened, numbers, remember

__all__ = ["numbers"]

# URLs with which the driver cannot connect.
UNUSABLE = {
    "mysql+asyncmy": "mysql+asyncmy://app@database/app?ssl-mode=yes",
    "postgresql+asyncpg": "postgresql+asyncpg://app@database/app?prepared_statement_cache_size=none",
    "sqlite+aiosqlite": "sqlite+aiosqlite://data.db",
}

tables = MetaData()
probe = Table("probe", tables, Column("id", Integer, primary_key=True, autoincrement=False))
child = Table("child", tables, Column("probe_id", ForeignKey(probe.c.id, ondelete="RESTRICT")))


@pytest.fixture
async def real_database(app: FastAPI, state: State) -> AsyncIterator[Database]:
    """Return the database as requests see it, with tables for real commits."""
    database = state["database"]
    async with database.engine.begin() as connection:
        await connection.run_sync(tables.create_all)
    yield database
    async with database.engine.begin() as connection:
        await connection.run_sync(tables.drop_all)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Open a database as the service does."""
    async with open_database(settings, Startup()) as state:
        yield state["database"]


async def stored(database: Database) -> int:
    """Count the rows that another session sees."""
    async with database.session() as session:
        return await session.scalar(select(func.count()).select_from(probe)) or 0


async def test_request_commits_before_its_response(real_database: Database, settings: Settings) -> None:
    """A success that a client sees is stored; a commit that fails is no success."""
    app = create_app(settings)

    @app.post("/probes/{number}")
    async def add_probe(number: int, session: SessionDep, fail: bool = False) -> None:
        await session.execute(insert(probe).values(id=number))
        if fail:

            def fail_commit(_session: object) -> None:
                raise RuntimeError("disk full")

            event.listen(session.sync_session, "before_commit", fail_commit)

    @app.get("/probes")
    async def count_probes(session: SessionDep) -> int:
        return await session.scalar(select(func.count()).select_from(probe)) or 0

    async with connect(app) as client:
        assert (await client.post("/probes/1")).status_code == 200
        assert await stored(real_database) == 1
        assert (await client.get("/probes")).json() == 1
        assert (await client.post("/probes/2?fail=true")).status_code == 500
        assert await stored(real_database) == 1
        assert (await client.post("/probes/1")).status_code == 409


async def test_row_that_is_gone_is_a_conflict(real_database: Database) -> None:
    """What another has deleted meanwhile cannot be changed: a 409, no 500."""
    with pytest.raises(ConflictError):
        async with real_database.session():
            raise StaleDataError


async def test_error_rolls_back(real_database: Database) -> None:
    """An error leaves nothing behind."""
    with pytest.raises(RuntimeError):
        async with real_database.session() as session:
            await session.execute(insert(probe).values(id=1))
            raise RuntimeError
    assert await stored(real_database) == 0


async def test_taken_value_is_a_conflict(real_database: Database) -> None:
    """A unique violation is the client's conflict."""
    with pytest.raises(ConflictError):
        async with real_database.session() as session:
            await session.execute(insert(probe).values([{"id": 1}, {"id": 1}]))


async def test_violated_foreign_key_is_a_conflict(real_database: Database) -> None:
    """Reject a reference to a missing row, and the deletion of a row with references."""
    with pytest.raises(ConflictError):
        async with real_database.session() as session:
            await session.execute(insert(child).values(probe_id=1))
    async with real_database.session() as session:
        await session.execute(insert(probe).values(id=1))
        await session.execute(insert(child).values(probe_id=1))
    with pytest.raises(ConflictError):
        async with real_database.session() as session:
            await session.execute(delete(probe))


async def test_wrong_query_is_our_fault(real_database: Database) -> None:
    """A query that cannot run stays an internal error."""
    with pytest.raises(DBAPIError):
        async with real_database.session() as session:
            await session.execute(text("SELECT nonsense FROM nowhere"))


async def test_session_that_lasts_too_long_is_ended(settings: Settings, app: FastAPI, state: State) -> None:
    """A database that hangs holds no request for ever; other time-outs are the handler's own."""
    hasty = settings.model_copy(update={"database_session_timeout_seconds": 0.05})
    async with opened(hasty) as database:
        with pytest.raises(UnavailableError):
            async with database.session():
                await asyncio.sleep(60)
        await database.check()
    with pytest.raises(TimeoutError):
        async with state["database"].session():
            raise TimeoutError


async def test_exhausted_pool_is_unavailable(app: FastAPI, settings: Settings) -> None:
    """A request that gets no connection in time gets a 503 response."""
    small = settings.model_copy(
        update={
            "database_pool_size": 1,
            "database_max_overflow": 0,
            "database_pool_timeout_seconds": 0.01,
        }
    )
    async with opened(small) as database, database.engine.connect():
        with pytest.raises(UnavailableError):
            await stored(database)


async def test_events_follow_the_commit(resources: State, numbers: list[int]) -> None:
    """Dispatch the events of a session after its commit, and none after a rollback."""
    dispatcher = Dispatcher([Subscriber(Happened, remember)], {"numbers": numbers})
    database = Database(resources["database"].engine, resources["database"].sessions, dispatcher, 5)
    async with database.session() as session:
        publisher(session)(Happened(1))
        assert numbers == []
    with pytest.raises(ValueError, match="wrong"):
        async with database.session() as session:
            publisher(session)(Happened(2))
            raise ValueError("wrong")
    assert numbers == [1]


@pytest.mark.parametrize("url", ["nonsense", "oracle://scott@localhost/app", UNUSABLE[DRIVER]])
def test_foreign_database_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    """Reject at the start a URL with which the driver cannot connect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", url)
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        get_settings()
