"""Signing in: invalid inputs, and tokens that are not valid."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import delete, select, update

from app.auth.models import RefreshToken
from app.core.db.database import Database
from app.users.models import User
from tests.conftest import State, connect
from tests.test_auth import AUTH, EMAIL, PASSWORD, get_me, log_in, pair, refresh, register

__all__ = ["pair"]


async def post(client: AsyncClient, route: str, body: dict[str, Any]) -> Response:
    """Send a body as ASCII, so that it can contain lone surrogates."""
    headers = {"Content-Type": "application/json"}
    return await client.post(f"{AUTH}/{route}", content=json.dumps(body), headers=headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "jane"},
        {"email": "jane@localhost"},
        {"email": "jane@example.com\n"},
        {"email": "jane\x00@example.com"},
        {"email": "jäne@example.com"},
        {"email": "jane\ud800@example.com"},
        {"email": None},
        {"email": f"jane@{'a.' * 125}com"},
        {"password": "a" * 11},
        {"password": "a" * 129},
        {"password": "a" * 10_000},
        {"password": "\ud800" * 12},
        {"password": None},
        {"role": "admin"},
    ],
)
async def test_invalid_registration_is_refused(anonymous: AsyncClient, changes: dict[str, Any]) -> None:
    """An invalid address or password is refused, and no one registers as an admin."""
    body = {"email": EMAIL, "password": PASSWORD} | changes
    response = await post(anonymous, "register", body)
    assert response.status_code == 422
    assert str(body["password"]) not in response.text
    [name] = changes
    assert f'["body","{name}"]' in response.text


@pytest.mark.parametrize("address", ["\u212ajane@example.com", "kjane\u0300@example.com", "jane@example.com\ud800"])
async def test_similar_addresses(anonymous: AsyncClient, address: str) -> None:
    """An address whose lower case is that of another, or looks like it, neither registers nor signs in."""
    assert (await register(anonymous, email="kjane@example.com")).status_code == 201
    assert (await post(anonymous, "register", {"email": address, "password": PASSWORD})).status_code == 422
    form = urlencode({"username": address, "password": PASSWORD}, errors="surrogatepass")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await anonymous.post(f"{AUTH}/token", content=form, headers=headers)
    assert response.status_code == 422


@pytest.mark.parametrize("route", ["refresh", "logout"])
async def test_token_without_an_encoding(anonymous: AsyncClient, route: str) -> None:
    """A lone surrogate, which JSON allows and UTF-8 does not, is refused."""
    assert (await post(anonymous, route, {"refresh_token": "\ud800"})).status_code == 422


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (EMAIL, "wrong horse battery"),
        (EMAIL, PASSWORD.upper()),
        (EMAIL, f"{PASSWORD}\x00"),
        (EMAIL, "a" * 1_024),
        ("john@example.com", PASSWORD),
    ],
)
async def test_failed_log_ins_are_alike(
    anonymous: AsyncClient, pair: dict[str, Any], username: str, password: str
) -> None:
    """The response does not reveal what was wrong."""
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
    """A password matches in composed and in decomposed form."""
    assert (await register(anonymous, password=chosen)).status_code == 201
    assert (await log_in(anonymous, typed)).status_code == 200
    assert (await log_in(anonymous, typed[1:])).status_code == 401


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("no address", PASSWORD),
        ("nul\x00@example.com", PASSWORD),
        ("a" * 10_000, PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        (EMAIL, "a" + "\u0327\u0301" * 512),
    ],
)
async def test_impossible_sign_in(anonymous: AsyncClient, pair: dict[str, Any], username: str, password: str) -> None:
    """A username that is no address is refused, and so is a password that takes long to normalize."""
    response = await log_in(anonymous, password, username)
    assert response.status_code == 422
    assert password not in response.text


async def test_concurrent_refreshes(app: FastAPI, state: State) -> None:
    """Of several concurrent uses of a token one succeeds. Then all tokens of the sign-in end."""
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


@pytest.mark.parametrize("token", ["", "x", "ä", "nul\x00", "a" * 1_024])
async def test_unknown_refresh_token(anonymous: AsyncClient, token: str) -> None:
    """An unknown token gives no tokens, and signs no user out."""
    response = await refresh(anonymous, {"refresh_token": token})
    assert response.status_code == 401
    response = await anonymous.post(f"{AUTH}/logout", json={"refresh_token": token})
    assert response.status_code == 204


async def test_access_token_does_not_refresh(anonymous: AsyncClient, pair: dict[str, Any]) -> None:
    """Neither kind of token replaces the other."""
    swapped = {"refresh_token": pair["access_token"], "access_token": pair["refresh_token"]}
    assert (await refresh(anonymous, swapped)).status_code == 401
    assert (await get_me(anonymous, swapped)).status_code == 401


async def test_old_refresh_token_expires(anonymous: AsyncClient, pair: dict[str, Any], database: Database) -> None:
    """An expired token is refused, and the next sign-in removes it."""
    async with database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(RefreshToken).values(expires_at=past))
    assert (await refresh(anonymous, pair)).status_code == 401
    await log_in(anonymous)
    async with database.session() as session:
        tokens = (await session.scalars(select(RefreshToken))).all()
    assert all(token.expires_at > datetime.now(UTC) for token in tokens)
    assert tokens
