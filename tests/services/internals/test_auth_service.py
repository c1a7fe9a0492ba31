"""The rules of signing in, without HTTP and without a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.auth.models import RefreshToken
from app.auth.repository import Accounts, RefreshTokenRepository
from app.auth.service import AuthService
from app.core.auth.passwords import NOBODYS_HASH, Passwords
from app.core.auth.tokens import AccessTokens
from app.core.errors import ConflictError, NotAuthenticatedError
from app.core.ids import uuid7
from app.settings import Settings
from app.users.models import Role, User
from app.users.repository import UserRepository

EMAIL = "jane@example.com"


class InMemoryUsers(UserRepository):
    """Keeps users in a dictionary."""

    def __init__(self) -> None:
        self.by_id: dict[UUID, User] = {}

    async def add(self, user: User) -> None:
        """Store a new user."""
        if await self.find_by_email(user.email):
            raise ConflictError("A record with these values exists already.")
        user.id = uuid7()
        self.by_id[user.id] = user

    async def get(self, user_id: UUID, **_locks: bool) -> User | None:
        """Return a user."""
        return self.by_id.get(user_id)

    async def find_by_email(self, email: str) -> User | None:
        """Return the user with an address."""
        return next((user for user in self.by_id.values() if user.email == email), None)

    async def lock_admins(self) -> list[User]:
        """Return all admins."""
        return [user for user in self.by_id.values() if user.role == Role.ADMIN]

    async def count(self) -> int:
        """Count all users."""
        return len(self.by_id)

    async def find(self, *, offset: int, limit: int) -> list[User]:
        """Return some users."""
        return list(self.by_id.values())[offset : offset + limit]


class InMemoryRefreshTokens(RefreshTokenRepository):
    """Keeps refresh tokens in a list."""

    def __init__(self) -> None:
        self.all: list[RefreshToken] = []

    async def add(self, token: RefreshToken) -> None:
        """Store a new token."""
        self.all.append(token)

    async def find(self, token_hash: str) -> RefreshToken | None:
        """Return the token with a hash."""
        return next((token for token in self.all if token.token_hash == token_hash), None)

    async def use(self, token_id: UUID, now: datetime) -> bool:
        """Mark a token as used."""
        [token] = [token for token in self.all if token.id == token_id]
        unused = token.used_at is None
        token.used_at = now
        return unused

    async def remove_family(self, family_id: UUID) -> None:
        """Remove a family."""
        self.all = [token for token in self.all if token.family_id != family_id]

    async def remove_of_user(self, user_id: UUID, *, expired_by: datetime | None = None) -> None:
        """Remove the tokens of a user."""
        self.all = [
            token for token in self.all if token.user_id != user_id or (expired_by and token.expires_at > expired_by)
        ]


class World:
    """A service on stores in memory, with passwords that are not hashed.

    `meanwhile` is done while a password is worked on; no transaction may be open then.
    """

    def __init__(self, settings: Settings) -> None:
        self.users = InMemoryUsers()
        self.refresh_tokens = InMemoryRefreshTokens()
        self.open = 0
        self.new_hash: str | None = None
        self.change: dict[str, object] = {}
        self.tokens = AccessTokens(settings)
        passwords = PlainPasswords(self)
        self.service = AuthService(self.accounts, passwords, self.tokens, timedelta(days=1))

    @asynccontextmanager
    async def accounts(self, **_locks: bool) -> AsyncIterator[Accounts]:
        """Open a transaction."""
        self.open += 1
        yield Accounts(self.users, self.refresh_tokens)
        self.open -= 1

    async def user(self) -> User:
        """Return the user."""
        user = await self.users.find_by_email(EMAIL)
        assert user is not None
        return user

    async def interfere(self) -> None:
        """Change the user as another request does."""
        assert self.open == 0
        for name, value in self.change.items():
            setattr(await self.user(), name, value)


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
async def world(settings: Settings) -> World:
    """Return a world with one user in it."""
    world = World(settings)
    await world.service.register(EMAIL, "old")
    return world


async def test_log_in_renews_an_old_hash(world: World) -> None:
    """A hash that was made with other parameters is replaced as soon as the password is known."""
    world.new_hash = "new"
    await world.service.log_in(EMAIL, "old")
    assert (await world.user()).password_hash == "new"


@pytest.mark.parametrize("change", [{"disabled": True}, {"password_hash": "changed"}])
async def test_log_in_that_is_overtaken(world: World, change: dict[str, object]) -> None:
    """A user who is disabled, or has a new password, while the old one is verified stays out."""
    world.change = change
    with pytest.raises(NotAuthenticatedError):
        await world.service.log_in(EMAIL, "old")
    assert world.refresh_tokens.all == []


async def test_user_who_is_removed_meanwhile(world: World) -> None:
    """Tokens of somebody who is gone are good for nothing."""
    pair = await world.service.log_in(EMAIL, "old")
    world.users.by_id.clear()
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(pair.refresh_token)
    claims = world.tokens.read(pair.access_token)
    with pytest.raises(NotAuthenticatedError):
        await world.service.change_password(claims, "old", "new")


async def test_password_change_that_is_overtaken(world: World) -> None:
    """Of two changes at the same time one wins: the other's token is void by then."""
    pair = await world.service.log_in(EMAIL, "old")
    world.change = {"token_version": 5}
    with pytest.raises(NotAuthenticatedError):
        await world.service.change_password(world.tokens.read(pair.access_token), "old", "new")
    assert (await world.user()).password_hash == "old"


async def test_tokens_are_stored_as_hashes(world: World) -> None:
    """Who reads the table cannot sign in with what it holds."""
    pair = await world.service.log_in(EMAIL, "old")
    [stored] = world.refresh_tokens.all
    assert pair.refresh_token not in vars(stored).values()
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(stored.token_hash)


async def test_expired_tokens_are_not_kept(world: World) -> None:
    """A client that refreshes for years leaves no rows behind."""
    pair = await world.service.log_in(EMAIL, "old")
    pair = await world.service.refresh(pair.refresh_token)
    old, _ = world.refresh_tokens.all
    old.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    await world.service.refresh(pair.refresh_token)
    assert old not in world.refresh_tokens.all


async def test_new_admin(world: World) -> None:
    """An admin can be made before there is any user."""
    await world.service.make_admin("root@example.com", "password")
    await world.service.log_in("root@example.com", "password")
    [admin] = await world.users.lock_admins()
    assert admin.email == "root@example.com"


async def test_user_becomes_admin(world: World) -> None:
    """Whoever has registered the address before has lost it."""
    pair = await world.service.log_in(EMAIL, "old")
    (await world.user()).disabled = True
    await world.service.make_admin(EMAIL, "new")
    [admin] = await world.users.lock_admins()
    assert (admin.email, admin.disabled) == (EMAIL, False)
    assert admin.token_version != world.tokens.read(pair.access_token).version
    with pytest.raises(NotAuthenticatedError):
        await world.service.refresh(pair.refresh_token)
    with pytest.raises(NotAuthenticatedError):
        await world.service.log_in(EMAIL, "old")
    await world.service.log_in(EMAIL, "new")


async def test_nobody_s_hash_is_a_hash() -> None:
    """To refuse an unknown user takes the same work as to refuse a wrong password."""
    passwords = Passwords(1)
    made_up, real = NOBODYS_HASH.split("$"), (await passwords.hash("password")).split("$")
    assert made_up[:4] == real[:4]
    assert [len(part) for part in made_up] == [len(part) for part in real]
    for stored in [None, NOBODYS_HASH]:
        assert await passwords.verify("", stored) == (False, None)


async def test_hash_with_other_parameters_is_renewed() -> None:
    """A password that was hashed with less work is hashed anew."""
    weak = PasswordHash([Argon2Hasher(memory_cost=8, time_cost=1, parallelism=1)])
    right, renewed = await Passwords(1).verify("password", weak.hash("password"))
    assert right
    assert await Passwords(1).verify("password", renewed) == (True, None)
