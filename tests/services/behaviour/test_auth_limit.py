"""The rate limit on guessed passwords: few attempts per minute, however they are sent."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.services.behaviour.accounts import API, Account, bearer, new_email
from tests.services.behaviour.variants import with_auth_and_limit
from tests.services.running import PASSWORD, Project, Service, Store

CLIENTS = 16
GUESSES = 80
# The default settings.
A_MINUTE = 10


@pytest.fixture
def limited(project: Project, own_store: Store) -> Iterator[Service]:
    """Return a new service with a trusted proxy and unused limits."""
    with project.start({"DATABASE_URL": own_store.url, "TRUSTED_PROXIES": "127.0.0.1"}) as service:
        yield service


def from_address(address: str) -> dict[str, str]:
    """Return the header in which a proxy names its client."""
    return {"X-Forwarded-For": address}


def guess(service: Service, email: str, password: str, headers: dict[str, str]) -> httpx2.Response:
    """Try a password."""
    form = {"username": email, "password": password}
    return service.request("POST", f"{API}/auth/token", data=form, headers=headers)


@with_auth_and_limit
def test_guessing(limited: Service) -> None:
    """Of many simultaneous guesses few are checked. The others get a retry time, whether right or wrong."""
    account = Account.new(limited)
    thief, owner = from_address("203.0.113.7"), from_address("198.51.100.1")
    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = list(
            threads.map(lambda number: guess(limited, account.email, f"guess number {number}", thief), range(GUESSES))
        )
    assert Counter(answer.status_code for answer in answers) == {401: A_MINUTE, 429: GUESSES - A_MINUTE}

    right = guess(limited, account.email, PASSWORD, thief)
    wrong = guess(limited, account.email, "a guess at last", thief)
    for answer in (right, wrong):
        assert limited.failure(answer, 429).code == "rate_limited"
        assert 0 < int(answer.headers["retry-after"]) <= 60
    assert right.headers["ratelimit-remaining"] == wrong.headers["ratelimit-remaining"] == "0"
    # This affects neither the owner at another address nor an existing session.
    assert guess(limited, account.email, PASSWORD, owner).status_code == 200
    assert account.request("GET", f"{API}/users/me").status_code == 200


@with_auth_and_limit
def test_guessing_in_other_ways(limited: Service) -> None:
    """Other accounts, valid tokens, other spellings and other addresses of one network give no more guesses."""
    accounts = [Account.new(limited) for _ in range(2)]
    tried = 0
    for number in range(3 * A_MINUTE):
        address = from_address(f"2001:db8:1:2:{number:x}::{number:x}")
        token = bearer(accounts[number % 2].access_token)
        email = [accounts[0].email, accounts[1].email.upper(), new_email()][number % 3]
        headers = {**address, **(token if number % 2 else {})}
        path = ("/api/v1/auth/token", "/api/v1/auth/%74oken", "/api/v1/auth/token?again=1")[number % 3]
        form = {"username": email, "password": "a guess like any other"}
        answer = limited.request("POST", path, data=form, headers=headers)
        assert answer.status_code in {401, 429}
        tried += answer.status_code == 401
    assert tried == A_MINUTE


@with_auth_and_limit
def test_guessing_behind_a_forged_address(project: Project, own_store: Store) -> None:
    """Without a trusted proxy a client cannot choose its address."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        answers = [
            guess(service, new_email(), "a guess like any other", from_address(f"203.0.113.{number}"))
            for number in range(2 * A_MINUTE)
        ]
    assert Counter(answer.status_code for answer in answers) == {401: A_MINUTE, 429: A_MINUTE}


@with_auth_and_limit
def test_guessing_the_present_password(limited: Service) -> None:
    """With a signed-in session an attacker has equally few guesses at its password."""
    account = Account.new(limited)
    statuses: Counter[int] = Counter()
    for number in range(3 * A_MINUTE):
        body = {"current_password": f"guess number {number}", "new_password": "what a thief would like"}
        headers = {**bearer(account.access_token), **from_address(f"203.0.113.{number}")}
        statuses[limited.request("POST", f"{API}/auth/password", json=body, headers=headers).status_code] += 1
    assert statuses == {403: A_MINUTE, 429: 2 * A_MINUTE}


@with_auth_and_limit
def test_registering_in_a_row(limited: Service) -> None:
    """Registration is limited too, because it reveals existing accounts and computes a hash."""
    statuses = Counter(limited.register(new_email()).status_code for _ in range(2 * A_MINUTE))
    assert statuses == {201: A_MINUTE, 429: A_MINUTE}
