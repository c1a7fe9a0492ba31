"""The command that makes the first admin."""

import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext

import pytest
from anyio import to_thread
from fastapi import FastAPI
from sqlalchemy import delete, select

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
    """What somebody types, or pipes in."""


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command with an input and, in its place, an address and settings."""

    def run_command(typed: str = f"{PASSWORD}\n", email: str = EMAIL, settings: Settings = settings) -> None:
        monkeypatch.setattr(sys, "stdin", Typed(typed))
        monkeypatch.setattr(create_admin, "get_settings", lambda: settings)
        create_admin.main(email)

    return run_command


@pytest.fixture
async def find_user(app: FastAPI, state: State) -> AsyncIterator[FindUser]:
    """Return what looks for the user; it is removed afterwards."""
    database: Database = state["database"]

    async def find() -> User | None:
        async with database.session() as session:
            return await session.scalar(select(User).where(User.email == EMAIL))

    yield find
    async with database.session() as session:
        await session.execute(delete(User).where(User.email == EMAIL))


async def test_admin_is_made(run: Run, find_user: FindUser, capsys: pytest.CaptureFixture[str]) -> None:
    """The command makes an admin; run again, it changes the password."""
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
        ("short\n", EMAIL, "^password: must have 12 to 128"),
        ("", EMAIL, "^password: must have 12 to 128"),
        (f"{PASSWORD}\n", "root", "^email: must be an e-mail"),
    ],
)
async def test_invalid_input_is_refused(run: Run, find_user: FindUser, typed: str, email: str, fault: str) -> None:
    """What no user could register with makes no admin either."""
    with pytest.raises(SystemExit, match=fault) as refusal:
        await to_thread.run_sync(run, typed, email)
    assert typed.strip() == "" or typed.strip() not in str(refusal.value)
    assert await find_user() is None


@pytest.mark.parametrize("repeated", [True, False])
async def test_password_is_asked_for_twice(
    run: Run, find_user: FindUser, repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error does not lock the admin out."""
    answers = [PASSWORD, PASSWORD if repeated else "something else"]
    monkeypatch.setattr(Typed, "isatty", lambda _self: True)
    monkeypatch.setattr(create_admin, "getpass", lambda _prompt: answers.pop(0))
    with nullcontext() if repeated else pytest.raises(SystemExit, match="differ"):
        await to_thread.run_sync(run)
    assert (await find_user() is not None) is repeated


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt])
async def test_giving_up_changes_nothing(
    run: Run, find_user: FindUser, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-D and Ctrl-C in place of a password end the command, without a traceback."""

    def give_up(_prompt: str) -> str:
        raise error

    monkeypatch.setattr(Typed, "isatty", lambda _self: True)
    monkeypatch.setattr(create_admin, "getpass", give_up)
    with pytest.raises(SystemExit, match="nothing is changed"):
        await to_thread.run_sync(run)
    assert await find_user() is None
