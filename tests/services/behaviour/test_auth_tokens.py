"""Access tokens: only a valid token of this service gives access."""

import base64
import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.services.behaviour.accounts import API, ME, ORDERS, Account, bearer, claims_of, forge, refused, unsigned
from tests.services.behaviour.variants import with_auth
from tests.services.running import SECRET_KEY, Service, wait_until

# The routes without authentication.
OPEN = {
    ("post", f"{API}/auth/register"),
    ("post", f"{API}/auth/token"),
    ("post", f"{API}/auth/refresh"),
    ("post", f"{API}/auth/logout"),
    ("get", "/health"),
    ("get", "/health/ready"),
}
NOBODY = "019c0000-0000-7000-8000-000000000000"
NOW = time.time


def tampered(token: str, **claims: Any) -> str:
    """Return a token with changed claims and the old signature."""
    return ".".join([*forge(token, claims=claims).split(".")[:2], token.split(".")[2]])


def jwk(key: bytes) -> dict[str, Any]:
    """Return a key in the format of a token's header."""
    return {"jwk": {"kty": "oct", "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode()}}


Attack = Callable[[str], str]
DEEP = base64.urlsafe_b64encode(b"[" * 7500).decode()
OWN = b"a key of the attacker's own, long enough"
ATTACKS: dict[str, Attack] = {
    # Signature.
    "alg none": lambda token: unsigned(forge(token, header={"alg": "none"})),
    "alg None": lambda token: unsigned(forge(token, header={"alg": "None"})),
    "alg NONE": lambda token: unsigned(forge(token, header={"alg": "NONE"})),
    "alg none, signed": lambda token: forge(token, header={"alg": "none"}),
    "alg null": lambda token: forge(token, header={"alg": None}),
    "alg a list": lambda token: forge(token, header={"alg": ["HS256"]}),
    "no alg": lambda token: forge(token, without=["alg"]),
    "another digest": lambda token: forge(token, header={"alg": "HS512"}, digest="sha512"),
    "a public key's algorithm": lambda token: forge(token, header={"alg": "RS256"}),
    "wrong key": lambda token: forge(token, key=OWN),
    "empty key": lambda token: forge(token, key=b""),
    "the secret itself as the key": lambda token: forge(token, key=SECRET_KEY.encode()),
    "a key in the header": lambda token: forge(token, key=OWN, header=jwk(OWN)),
    "a key from elsewhere": lambda token: forge(token, key=OWN, header={"jku": "https://evil.example/keys.json"}),
    "a key in a file": lambda token: forge(token, key=b"", header={"kid": "../../../../dev/null"}),
    "an extension nobody knows": lambda token: forge(token, header={"crit": ["hush"], "hush": True}),
    "no signature": unsigned,
    "half a signature": lambda token: token[:-20],
    "another signature": lambda token: token[:-43] + token[-43:][::-1],
    "other claims": lambda token: tampered(token, sub=NOBODY),
    "another role": lambda token: tampered(token, role="admin"),
    # Subject, issuer and audience.
    "wrong issuer": lambda token: forge(token, claims={"iss": "evil"}),
    "issuer in other letters": lambda token: forge(token, claims={"iss": claims_of(token)["iss"].upper()}),
    "wrong audience": lambda token: forge(token, claims={"aud": "warehouse"}),
    "wrong audiences": lambda token: forge(token, claims={"aud": ["warehouse", "evil"]}),
    "no audiences": lambda token: forge(token, claims={"aud": []}),
    "wrong type in the header": lambda token: forge(token, header={"typ": "JWT"}),
    "an id token": lambda token: forge(token, header={"typ": "id_token+jwt"}),
    "no type in the header": lambda token: forge(token, without=["typ"], claims={}),
    "wrong type": lambda token: forge(token, claims={"typ": "refresh"}),
    "unknown user": lambda token: forge(token, claims={"sub": NOBODY}),
    "a user that is no id": lambda token: forge(token, claims={"sub": "admin' OR '1'='1"}),
    "a user that is no text": lambda token: forge(token, claims={"sub": 1}),
    "an empty user": lambda token: forge(token, claims={"sub": ""}),
    "an older version": lambda token: forge(token, claims={"ver": claims_of(token)["ver"] - 1}),
    "a newer version": lambda token: forge(token, claims={"ver": claims_of(token)["ver"] + 1}),
    "a version that is no number": lambda token: forge(token, claims={"ver": "latest"}),
    "version null": lambda token: forge(token, claims={"ver": None}),
    # Times.
    "expired": lambda token: forge(token, claims={"exp": int(NOW()) - 1}),
    "expired long ago": lambda token: forge(token, claims={"exp": 0}),
    "expiry that is no time": lambda token: forge(token, claims={"exp": "never"}),
    "expiry null": lambda token: forge(token, claims={"exp": None}),
    "expiry beyond numbers": lambda token: forge(token, claims={"exp": float("inf")}),
    "expiry in parts": lambda token: forge(token, claims={"exp": [int(NOW()) + 900]}),
    "not yet valid": lambda token: forge(token, claims={"nbf": int(NOW()) + 60}),
    "start that is no time": lambda token: forge(token, claims={"nbf": "now"}),
    "made in the future": lambda token: forge(token, claims={"iat": int(NOW()) + 60}),
    # Missing parts.
    **{
        f"no {name}": partial(forge, without=[name])
        for name in ("iss", "aud", "sub", "iat", "nbf", "exp", "jti", "ver")
    },
    # Malformed tokens.
    "two parts": lambda token: token.rpartition(".")[0],
    "four parts": lambda token: f"{token}.{token.split('.')[2]}",
    "five parts": lambda token: f"{token}.x.y",
    "a list": lambda token: f"{token.split('.')[0]}.W10.{token.split('.')[2]}",
    "a list for a header": lambda token: "W10." + token.partition(".")[2],
    "depth for a header": lambda token: f"{DEEP}.{token.partition('.')[2]}",
    "two tokens": lambda token: f"{token} {token}",
    "a list of tokens": lambda token: f"{token}, {token}",
}
NO_TOKENS = ("hush", "..", "aHVzaA.aHVzaA.aHVzaA", f"{DEEP}.{DEEP}.{DEEP}", "x" * 30_000)


@pytest.fixture(scope="module")
def jane(service: Service) -> Account:
    """Return a user whose tokens stay valid."""
    return Account.new(service)


def refusals(service: Service, token: str) -> set[str]:
    """Check that a token is refused everywhere, and return the messages."""
    return {refused(service, service.client.get(path, headers=bearer(token))) for path in (ME, ORDERS, f"{API}/users")}


@with_auth
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_forged_token(service: Service, jane: Account, attack: Attack) -> None:
    """A forged token is refused, and the response does not contain the reason."""
    words = refusals(service, attack(jane.access_token))
    assert words == refusals(service, forge(jane.access_token, key=OWN))
    assert len(words) == 1


@with_auth
def test_no_token(service: Service) -> None:
    """A missing or malformed token is refused with the same message."""
    assert len({word for token in NO_TOKENS for word in refusals(service, token)}) == 1


@with_auth
def test_forger_is_able(service: Service, jane: Account) -> None:
    """The forging helper creates valid tokens if it changes nothing, so the attacks fail only for their changes."""
    for token in (
        forge(jane.access_token),
        forge(jane.access_token, claims={"exp": int(NOW()) + 60, "jti": "another"}),
    ):
        assert service.client.get(ME, headers=bearer(token)).json()["id"] == jane.id


@with_auth
def test_contents_of_a_token(jane: Account) -> None:
    """An access token lasts minutes and contains no email address, role or password data."""
    claims = claims_of(jane.access_token)
    assert set(claims) == {"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "ver", "typ"}
    assert claims["sub"] == jane.id
    assert 0 < claims["exp"] - claims["iat"] <= 900
    header = json.loads(base64.urlsafe_b64decode(jane.access_token.split(".")[0] + "=="))
    assert header == {"alg": "HS256", "typ": "at+jwt"}
    # The other claim is random, with at least 256 bits.
    assert "." not in jane.refresh_token
    assert len(jane.refresh_token) >= 43


@with_auth
def test_expiry_is_to_the_second(service: Service, jane: Account) -> None:
    """A token that was valid a moment ago, and may be cached, expires on time."""
    end = int(NOW()) + 3
    header = bearer(forge(jane.access_token, claims={"exp": end}))
    assert service.client.get(ME, headers=header).status_code == 200
    wait_until(lambda: service.client.get(ME, headers=header).status_code == 401, "the token expires", 10)
    assert end <= NOW() < end + 2


@with_auth
def test_lifetime_is_a_setting(service: Service, jane: Account) -> None:
    """The response contains the lifetime of a token, which is correct."""
    claims = claims_of(jane.access_token)
    answer = service.log_in(jane.email)
    assert answer.json()["expires_in"] == claims["exp"] - claims["iat"]
    assert answer.json()["token_type"] == "bearer"


@with_auth
@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic amFuZTpwYXNzd29yZA=="},
        {"Authorization": "Token {token}"},
        {"Authorization": "{token}"},
        {"Authorization": "Bearer Bearer {token}"},
        {"Authorization": "Bearer {refresh_token}"},
        {"X-Authorization": "Bearer {token}"},
        {"Cookie": "access_token={token}"},
    ],
    ids=lambda header: " ".join(f"{name} {value}" for name, value in header.items()) or "none",
)
def test_token_elsewhere(service: Service, jane: Account, header: dict[str, str]) -> None:
    """A token is accepted only in its header, and a refresh token is not accepted there."""
    tokens = {"token": jane.access_token, "refresh_token": jane.refresh_token}
    headers = {name: value.format(**tokens) for name, value in header.items()}
    refused(service, service.request("GET", ME, headers=headers))
    refused(service, service.request("GET", f"{ME}?access_token={jane.access_token}", headers=headers))


@with_auth
def test_scheme_in_any_case(service: Service, jane: Account) -> None:
    """The name of the scheme may be in lower case."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        header = {"Authorization": f"{scheme} {jane.access_token}"}
        assert service.request("GET", ME, headers=header).status_code == 200


@with_auth
def test_bytes_for_a_token(service: Service) -> None:
    """Bytes that are not valid text are refused."""
    for value in (b"\xff\xfe", "ünïcödé".encode(), "用户.用户.用户".encode(), b"a.\xc3\x28.c"):
        raw = b"GET %s HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer %s\r\n\r\n" % (ME.encode(), value)
        refused(service, service.raw(raw))


@with_auth
def test_every_route_is_guarded(service: Service) -> None:
    """Every route requires a token except sign-in and the health checks, and the document lists these."""
    document = service.client.get("/openapi.json").json()
    operations = {
        (method, path): item for path, methods in document["paths"].items() for method, item in methods.items()
    }
    assert {operation for operation, item in operations.items() if not item.get("security")} == OPEN
    for (method, path), item in operations.items():
        if (method, path) in OPEN:
            continue
        assert {"401"} <= set(item["responses"])
        target = re.sub(r"{\w+}", NOBODY, path)
        # A request without authentication does not learn about errors in its parameters.
        refused(service, service.request(method.upper(), target))
        refused(service, service.request(method.upper(), target, json=["hush"]))
