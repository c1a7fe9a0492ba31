"""The rules of signing in, without HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import RefreshToken
from app.auth.service import AuthService
from app.core.auth.passwords import DUMMY_HASH, Passwords
from app.core.auth.tokens import AccessTokens
from app.core.db.database import Database
from app.core.errors import NotAuthenticatedError
from app.settings import Settings
from app.users.models import Role, User

EMAIL = "jane@example.com"


class World:
    """A service whose passwords are not hashed.

    `change` is what another request changes while a password is verified or hashed.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._open = 0
        self.new_hash: str | None = None
        self.change: dict[str, object] = {}
        self.tokens = AccessTokens(settings)
        self.service = AuthService(ObservedDatabase(self, database), PlainPasswords(self), self.tokens, settings)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session, and count the sessions that are open."""
        self._open += 1
        try:
            async with self._database.session() as session:
                yield session
        finally:
            self._open -= 1

    async def user(self, email: str = EMAIL) -> User:
        """Return a user."""
        async with self.session() as session:
            return (await session.scalars(select(User).where(User.email == email))).one()

    async def refresh_tokens(self) -> list[RefreshToken]:
        """Return all refresh tokens, oldest first."""
        async with self.session() as session:
            return list(await session.scalars(select(RefreshToken).order_by(RefreshToken.id)))

    async def set(self, **values: object) -> None:
        """Change the user."""
        async with self.session() as session:
            user = (await session.scalars(select(User).where(User.email == EMAIL))).one()
            for name, value in values.items():
                setattr(user, name, value)

    async def interfere(self) -> None:
        """Change the user as another request does. No session is open while a password is hashed."""
        assert self._open == 0
        if self.change:
            await self.set(**self.change)


class ObservedDatabase(Database):
    """A database whose sessions the test counts."""

    def __init__(self, world: World, database: Database) -> None:
        vars(self).update(vars(database))
        self._world = world

    @asynccontextmanager
    async def session(self, **_options: bool) -> AsyncIterator[AsyncSession]:
        """Open a session."""
        async with self._world.session() as session:
            yield session


class PlainPasswords(Passwords):
    """Compares passwords as they are."""

    def __init__(self, world: World) -> None:
        super().__init__(threads=1)
        self._world = world

    async def hash(self, password: str) -> str:
        """Return the password."""
        await self._world.interfere()
        return password

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Compare the password."""
        await self._world.interfere()
        return password == stored, self._world.new_hash


@pytest.fixture
async def world(database: Database, settings: Settings) -> World:
    """Return a world with one user in it."""
    world = World(database, settings)
    await world.service.register(EMAIL, "old")
    return world


async def test_log_in_renews_an_old_hash(world: World) -> None:
    """A hash with other parameters is replaced when its user signs in."""
    world.new_hash = "new"
    await world.service.log_in(EMAIL, "old")
    assert (await world.user()).password_hash == "new"


@pytest.mark.parametrize("change", [{"disabled": True}, {"password_hash": "changed"}])
async def test_log_in_that_is_overtaken(world: World, change: dict[str, object]) -> None:
    """A user who is disabled, or has a new password, while the old one is verified gets no tokens."""
    world.change = change
    with pytest.raises(NotAuthenticatedError):
        await world.service.log_in(EMAIL, "old")
    assert await world.refresh_tokens() == []


async def test_user_who_is_removed_meanwhile(world: World) -> None:
    """Tokens of a removed user are refused."""
    pair = await world.service.log_in(EMAIL, "old")
    async with world.session() as session:
        await session.execute(delete(User))
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(pair.refresh_token)
    claims = world.tokens.read(pair.access_token)
    with pytest.raises(NotAuthenticatedError):
        await world.service.change_password(claims, "old", "new")


async def test_password_change_that_is_overtaken(world: World) -> None:
    """Of two concurrent changes one succeeds. The token of the other one has ended."""
    pair = await world.service.log_in(EMAIL, "old")
    world.change = {"token_version": 5}
    with pytest.raises(NotAuthenticatedError):
        await world.service.change_password(world.tokens.read(pair.access_token), "old", "new")
    assert (await world.user()).password_hash == "old"


async def test_tokens_are_stored_as_hashes(world: World) -> None:
    """A stored token cannot be used to sign in."""
    pair = await world.service.log_in(EMAIL, "old")
    [stored] = await world.refresh_tokens()
    assert pair.refresh_token not in vars(stored).values()
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(stored.token_hash)


async def test_expired_tokens_are_not_kept(world: World) -> None:
    """Refreshing removes the expired tokens of the user."""
    pair = await world.service.log_in(EMAIL, "old")
    pair = await world.service.refresh(pair.refresh_token)
    old, _ = await world.refresh_tokens()
    async with world.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(RefreshToken).where(RefreshToken.id == old.id).values(expires_at=past))
    await world.service.refresh(pair.refresh_token)
    assert old.id not in {token.id for token in await world.refresh_tokens()}


async def test_new_admin(world: World) -> None:
    """An address without a user gets a new admin."""
    await world.service.make_admin("root@example.com", "password")
    await world.service.log_in("root@example.com", "password")
    assert (await world.user("root@example.com")).role == Role.ADMIN


async def test_user_becomes_admin(world: World) -> None:
    """The user who registered the address before loses access to it."""
    pair = await world.service.log_in(EMAIL, "old")
    await world.set(disabled=True)
    await world.service.make_admin(EMAIL, "new")
    admin = await world.user()
    assert (admin.role, admin.disabled) == (Role.ADMIN, False)
    assert admin.token_version != world.tokens.read(pair.access_token).version
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(pair.refresh_token)
    with pytest.raises(NotAuthenticatedError):
        await world.service.log_in(EMAIL, "old")
    await world.service.log_in(EMAIL, "new")


async def test_dummy_hash() -> None:
    """Refusing an unknown user takes the same work as refusing a wrong password."""
    passwords = Passwords(1)
    made_up, real = DUMMY_HASH.split("$"), (await passwords.hash("password")).split("$")
    assert made_up[:4] == real[:4]
    assert [len(part) for part in made_up] == [len(part) for part in real]
    for stored in [None, DUMMY_HASH]:
        assert await passwords.verify("", stored) == (False, None)


async def test_hash_with_other_parameters_is_renewed() -> None:
    """A password that was hashed with less work is hashed again."""
    weak = PasswordHash([Argon2Hasher(memory_cost=8, time_cost=1, parallelism=1)])
    right, renewed = await Passwords(1).verify("password", weak.hash("password"))
    assert right
    assert await Passwords(1).verify("password", renewed) == (True, None)
