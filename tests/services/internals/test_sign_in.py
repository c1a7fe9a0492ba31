"""Signing in: inputs that go wrong, and tokens that are good for nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import delete, select, update

from app.auth.models import RefreshToken
from app.core.auth.passwords import MAX_TYPED
from app.core.db.database import Database
from app.users.models import User
from tests.conftest import State, connect
from tests.test_auth import AUTH, EMAIL, PASSWORD, get_me, log_in, pair, refresh, register

__all__ = ["pair"]


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "jane"},
        {"email": "jane@localhost"},
        {"email": "jane@example.com\n"},
        {"email": "jane\x00@example.com"},
        {"email": "jäne@example.com"},
        {"email": f"jane@{'a.' * 125}com"},
        {"password": "a" * 11},
        {"password": "a" * 129},
        {"password": "a" * 10_000},
        {"role": "admin"},
    ],
)
async def test_invalid_registration_is_refused(anonymous: AsyncClient, changes: dict[str, Any]) -> None:
    """What cannot be an address or a good password is refused, and nobody registers as admin."""
    response = await register(anonymous, **changes)
    assert response.status_code == 422
    assert changes.get("password", PASSWORD) not in response.text
    if "role" not in changes:
        assert '"message":"must ' in response.text
        assert '"type":"value_error"' in response.text


async def test_half_a_character_is_refused(anonymous: AsyncClient) -> None:
    """What JSON can say and no encoding can is no token."""
    headers = {"Content-Type": "application/json"}
    body = r'{"refresh_token": "\ud800"}'
    response = await anonymous.post(f"{AUTH}/refresh", content=body, headers=headers)
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (EMAIL, "wrong horse battery"),
        (EMAIL, PASSWORD.upper()),
        (EMAIL, "a" * 10_000),
        (EMAIL, f"{PASSWORD}\x00"),
        ("john@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("nul\x00@example.com", PASSWORD),
        ("a" * 10_000, PASSWORD),
        ("' OR 1=1 --", PASSWORD),
    ],
)
async def test_failed_log_ins_are_alike(
    anonymous: AsyncClient, pair: dict[str, Any], username: str, password: str
) -> None:
    """The answer does not tell what was wrong."""
    response = await log_in(anonymous, password, username)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "The e-mail address or the password is wrong." in response.text


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("пароль-из-букв", "пароль-из-букв"),
        ("🐎🔋📎🐎🔋📎🐎🔋📎🐎🔋📎", "🐎🔋📎🐎🔋📎🐎🔋📎🐎🔋📎"),
        ("Zo\u00eb Zo\u00eb Zo\u00eb Zo\u00eb", "Zoe\u0308 Zoe\u0308 Zoe\u0308 Zoe\u0308"),
        ("\ud55c" * 128, "\u1112\u1161\u11ab" * 128),
        (f" {PASSWORD} ", f" {PASSWORD} "),
    ],
)
async def test_password_in_any_script(anonymous: AsyncClient, chosen: str, typed: str) -> None:
    """A password is what its user sees, however the keyboard writes it."""
    assert (await register(anonymous, password=chosen)).status_code == 201
    assert (await log_in(anonymous, typed)).status_code == 200
    assert (await log_in(anonymous, typed[1:])).status_code == 401


async def test_absurdly_long_password_is_wrong(anonymous: AsyncClient, pair: dict[str, Any]) -> None:
    """A megabyte that would take minutes to normalise is not even looked at."""
    password = "a" + "\u0327\u0301" * MAX_TYPED
    assert (await log_in(anonymous, password)).status_code == 401


async def test_concurrent_refreshes(app: FastAPI, state: State) -> None:
    """Of several uses of one token at the same time one wins at most; then the family ends."""
    email = f"{uuid4()}@example.com"
    async with connect(app, {**state}) as client:
        try:
            assert (await register(client, email=email)).status_code == 201
            pair = (await log_in(client, username=email)).json()
            responses = await asyncio.gather(*(refresh(client, pair) for _ in range(5)))
            assert sorted(response.status_code for response in responses) == [200, *[401] * 4]
            [winner] = [response for response in responses if response.status_code == 200]
            assert (await refresh(client, winner.json())).status_code == 401
        finally:
            async with state["database"].session() as session:
                await session.execute(delete(User).where(User.email == email))


@pytest.mark.parametrize("token", ["", "x", "ä", "nul\x00", "a" * 10_000])
async def test_unknown_refresh_token(anonymous: AsyncClient, token: str) -> None:
    """A made-up token gives nothing, and signs nobody out."""
    response = await refresh(anonymous, {"refresh_token": token})
    assert response.status_code == 401
    response = await anonymous.post(f"{AUTH}/logout", json={"refresh_token": token})
    assert response.status_code == 204


async def test_access_token_does_not_refresh(anonymous: AsyncClient, pair: dict[str, Any]) -> None:
    """No token does the work of the other kind."""
    swapped = {"refresh_token": pair["access_token"], "access_token": pair["refresh_token"]}
    assert (await refresh(anonymous, swapped)).status_code == 401
    assert (await get_me(anonymous, swapped)).status_code == 401


async def test_old_refresh_token_expires(anonymous: AsyncClient, pair: dict[str, Any], database: Database) -> None:
    """Who stays away for too long logs in again, which sweeps the old token out."""
    async with database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(RefreshToken).values(expires_at=past))
    assert (await refresh(anonymous, pair)).status_code == 401
    await log_in(anonymous)
    async with database.session() as session:
        tokens = (await session.scalars(select(RefreshToken))).all()
    assert all(token.expires_at > datetime.now(UTC) for token in tokens)
    assert tokens
