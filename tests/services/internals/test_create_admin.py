"""The command that creates the first admin."""

import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from anyio import to_thread
from fastapi import FastAPI
from sqlalchemy import delete, select, text

from app.commands import create_admin
from app.core.db.database import Database
from app.settings import Settings
from app.users.models import User
from tests.conftest import State

EMAIL = "root@example.com"
PASSWORD = "correct horse battery"

Run = Callable[..., None]
FindUser = Callable[[], Awaitable[User | None]]


class Typed(io.StringIO):
    """The standard input."""


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command."""

    def run_command(typed: str = f"{PASSWORD}\n", email: str = EMAIL, settings: Settings = settings) -> None:
        monkeypatch.setattr(sys, "stdin", Typed(typed))
        monkeypatch.setattr(create_admin, "get_settings", lambda: settings)
        create_admin.main(email)

    return run_command


@pytest.fixture
async def find_user(app: FastAPI, state: State) -> AsyncIterator[FindUser]:
    """Yield a function that finds the user, who is removed afterwards."""
    database: Database = state["database"]

    async def find() -> User | None:
        async with database.session() as session:
            return await session.scalar(select(User).where(User.email == EMAIL))

    yield find
    async with database.session() as session:
        await session.execute(delete(User).where(User.email == EMAIL))


async def test_admin_is_made(run: Run, find_user: FindUser, capsys: pytest.CaptureFixture[str]) -> None:
    """The command creates an admin. The next run changes the password."""
    hashes = set()
    for typed in [f"{PASSWORD}\n", f"another {PASSWORD}"]:
        await to_thread.run_sync(run, typed)
        user = await find_user()
        assert user is not None
        assert user.role == "admin"
        hashes.add(user.password_hash)
        assert f"{EMAIL} is an admin." in capsys.readouterr().out
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("typed", "email", "fault"),
    [
        ("short\n", EMAIL, "^password: .* at least 12 characters"),
        ("", EMAIL, "^password: .* at least 12 characters"),
        (f"{PASSWORD}\n", "root", "^email: String should match"),
    ],
)
async def test_invalid_input_is_refused(run: Run, find_user: FindUser, typed: str, email: str, fault: str) -> None:
    """An address or password that no user can register with creates no admin."""
    with pytest.raises(SystemExit, match=fault) as refusal:
        await to_thread.run_sync(run, typed, email)
    assert typed.strip() == "" or typed.strip() not in str(refusal.value)
    assert await find_user() is None


async def test_password_at_a_terminal(run: Run, find_user: FindUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, the command asks for the password."""
    monkeypatch.setattr(Typed, "isatty", lambda _self: True)
    monkeypatch.setattr(create_admin, "getpass", lambda: PASSWORD)
    await to_thread.run_sync(run)
    assert await find_user() is not None


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt])
async def test_giving_up_changes_nothing(
    run: Run, find_user: FindUser, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-D and Ctrl-C in place of a password end the command, without a traceback."""

    def give_up() -> str:
        raise error

    monkeypatch.setattr(Typed, "isatty", lambda _self: True)
    monkeypatch.setattr(create_admin, "getpass", give_up)
    with pytest.raises(SystemExit, match="Canceled"):
        await to_thread.run_sync(run)
    assert await find_user() is None


async def test_missing_tables(run: Run, state: State) -> None:
    """If the database is not migrated, the command ends with a hint and without a traceback."""
    database: Database = state["database"]

    async def rename(old: str, new: str) -> None:
        async with database.session() as session:
            await session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    await rename("users", "hidden_users")
    try:
        with pytest.raises(SystemExit, match=r"(?s)users.*python -m app migrate"):
            await to_thread.run_sync(run)
    finally:
        await rename("hidden_users", "users")
