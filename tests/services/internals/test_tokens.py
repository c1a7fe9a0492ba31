"""Access tokens: a token that differs from what the service issues is refused."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient

from app.core.auth.tokens import CLOCK_SKEW_SECONDS, AccessTokens
from app.core.errors import NotAuthenticatedError
from app.settings import Settings
from tests.clients import SignIn

ME = "/api/v1/users/me"
HEADER = {"alg": "HS256", "typ": "at+jwt"}
ISSUER = Settings.model_fields["token_issuer"].default

Claims = dict[str, Any]
Forge = Callable[..., str]


def encode(part: bytes) -> str:
    """Return an encoded part of a token."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def sign(header: bytes, payload: bytes, key: bytes, digest: str = "sha256") -> str:
    """Return a token with a header, a payload and a signature."""
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), digest))}"


def claims_of(client: AsyncClient) -> Claims:
    """Return the claims in the token of a client."""
    payload = client.headers["Authorization"].split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


@pytest.fixture
def key(settings: Settings) -> bytes:
    """Return the key that the service signs with."""
    return hmac.digest(settings.secret_key.get_secret_value().encode(), b"access-token", "sha256")


@pytest.fixture
def forge(client: AsyncClient, key: bytes) -> Forge:
    """Return a function that changes the token of the client. `None` removes a claim."""

    def make(
        header: dict[str, Any] = HEADER,
        signed_with: bytes = key,
        digest: str = "sha256",
        **changes: Any,
    ) -> str:
        claims = {**claims_of(client), **changes}
        payload = json.dumps({name: value for name, value in claims.items() if value is not None})
        return sign(json.dumps(header).encode(), payload.encode(), signed_with, digest)

    return make


async def status_with(client: AsyncClient, authorization: str) -> int:
    """Return the status of a request with this header."""
    response = await client.get(ME, headers={"Authorization": authorization})
    assert response.status_code == 200 or response.headers["www-authenticate"] == "Bearer"
    return response.status_code


async def test_faithful_copy_is_accepted(client: AsyncClient, forge: Forge) -> None:
    """A forged token without changes is accepted, so the other tests fail for their changes only."""
    assert await status_with(client, f"Bearer {forge()}") == 200
    assert await status_with(client, f"bearer {forge()}") == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody-else"},
        {"iss": [ISSUER]},
        {"aud": "somebody-else"},
        {"aud": 1},
        {"typ": "refresh"},
        {"exp": 1},
        {"exp": "soon"},
        {"exp": 1e400},
        {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999},
        {"sub": str(UUID(int=1))},
        {"sub": "admin"},
        {"sub": 1},
        {"ver": 1},
        {"ver": -1},
        {"ver": "0"},
        {"header": {"alg": "HS256", "typ": "JWT"}},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "RS256", "typ": "at+jwt"}},
        {"header": {"alg": "HS512", "typ": "at+jwt"}, "digest": "sha512"},
        {"header": {**HEADER, "crit": ["exp"]}},
        {"signed_with": b"another key of exactly 32 bytes."},
        {"signed_with": b"change-me"},
        {"signed_with": b""},
        *({name: None} for name in ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "ver", "typ"]),
    ],
    ids=str,
)
async def test_wrong_token_is_refused(client: AsyncClient, forge: Forge, changes: dict[str, Any]) -> None:
    """A token with a wrong algorithm, key, type, issuer, audience, time or claim is refused."""
    assert await status_with(client, f"Bearer {forge(**changes)}") == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_unsigned_token_is_refused(client: AsyncClient, forge: Forge, algorithm: str) -> None:
    """A token that names no algorithm is refused."""
    header, payload, signature = forge({"alg": algorithm, "typ": "at+jwt"}).split(".")
    for end in ["", signature]:
        assert await status_with(client, f"Bearer {header}.{payload}.{end}") == 401


async def test_no_token_at_all_is_refused(client: AsyncClient, forge: Forge, key: bytes) -> None:
    """A malformed token and another scheme are refused."""
    token = forge()
    deep = b'{"alg":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer ...",
        "Bearer \x7f\x7f.\x7f.\x7f",
        f"Bearer {token[:-1]}",
        f"Bearer {token}A",
        f"Bearer {token.replace('.', '..')}",
        f"Basic {token}",
        f"Bearer {sign(deep, b'{}', key)}",
        f"Bearer {sign(json.dumps(HEADER).encode(), b'[]', key)}",
        f"Bearer {sign(json.dumps(HEADER).encode(), deep, key)}",
        f"Bearer {'a' * 30_000}",
    ]:
        assert await status_with(client, authorization) == 401


async def test_role_is_not_in_the_token(forge: Forge, client: AsyncClient) -> None:
    """A role in the claims is ignored."""
    headers = {"Authorization": f"Bearer {forge(role='admin')}"}
    assert (await client.get("/api/v1/users", headers=headers)).status_code == 403


async def test_version_counts(client: AsyncClient, admin: AsyncClient, forge: Forge) -> None:
    """A token from before the user was disabled is refused, also after the user is enabled again."""
    url = f"/api/v1/users/{claims_of(client)['sub']}"
    for disabled in [True, False]:
        assert (await admin.patch(url, json={"disabled": disabled})).status_code == 200
    assert await status_with(client, f"Bearer {forge()}") == 401
    assert await status_with(client, f"Bearer {forge(ver=1)}") == 200


async def test_tokens_are_not_mixed_up(sign_in: SignIn, client: AsyncClient) -> None:
    """Each token belongs to one user."""
    other = await sign_in((await client.get(ME)).json()["role"])
    for one in [client, other, client]:
        assert (await one.get(ME)).json()["id"] == claims_of(one)["sub"]


def test_claims_are_those_of_the_user(settings: Settings) -> None:
    """A token has the id of the user and the version."""
    tokens = AccessTokens(settings)
    claims = tokens.read(tokens.issue(UUID(int=1), 7))
    assert (claims.user_id, claims.version) == (UUID(int=1), 7)


@pytest.mark.parametrize(
    ("ahead", "valid"),
    [(CLOCK_SKEW_SECONDS - 2, True), (CLOCK_SKEW_SECONDS + 5, False)],
    ids=["a-little", "too-much"],
)
def test_clocks_may_differ(settings: Settings, monkeypatch: pytest.MonkeyPatch, ahead: int, valid: bool) -> None:
    """A token from a host whose clock is a little ahead is valid."""
    tokens = AccessTokens(settings)
    now = time.time()
    with monkeypatch.context() as other_host:
        other_host.setattr(time, "time", lambda: now + ahead)
        token = tokens.issue(UUID(int=1), 0)
    with nullcontext() if valid else pytest.raises(NotAuthenticatedError):
        tokens.read(token)


def test_every_token_is_another(settings: Settings) -> None:
    """Two tokens that a user gets within a second differ."""
    tokens = AccessTokens(settings)
    assert tokens.issue(UUID(int=1), 0) != tokens.issue(UUID(int=1), 0)


@pytest.mark.parametrize("name", ["secret_key", "token_issuer", "token_audience"])
def test_another_service_has_other_tokens(settings: Settings, name: str) -> None:
    """A service with another secret, issuer or audience refuses the token."""
    value = settings.secret_key.__class__("x" * 32) if name == "secret_key" else "other"
    other = AccessTokens(settings.model_copy(update={name: value}))
    with pytest.raises(NotAuthenticatedError):
        AccessTokens(settings).read(other.issue(UUID(int=1), 0))
