"""Refresh tokens and the end of sessions: by time, by their owner, after theft and by an admin."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.services.behaviour.accounts import (
    API,
    ME,
    Account,
    bearer,
    comparable,
    log_out,
    new_email,
    refresh,
    refused,
    sha256,
)
from tests.services.behaviour.variants import AUTH_VARIANTS, where, with_auth, with_auth_and_database
from tests.services.running import PASSWORD, Project, ServerStore, Service, Store
from tests.services.servers import Kind, PrivateServer

OTHER_PASSWORD = "another phrase, after the first was heard"


@pytest.fixture
def jane(service: Service) -> Account:
    """Return a user of this test."""
    return Account.new(service)


@pytest.fixture(scope="module")
def admin(service: Service, project: Project, settings: dict[str, str]) -> Account:
    """Return an admin whom no test may demote."""
    return Account.new_admin(service, project, settings)


def second_session(account: Account) -> Account:
    """Sign the same user in for a second session."""
    return Account(account.service, account.email, account.password)


@with_auth
def test_rotation(service: Service, jane: Account) -> None:
    """A refresh token can be used once for a new pair. Earlier access tokens stay valid until they expire."""
    seen = {jane.refresh_token}
    for _ in range(3):
        before = jane.access_token
        jane.take(refresh(service, jane.refresh_token))
        assert jane.refresh_token not in seen
        seen.add(jane.refresh_token)
        assert service.client.get(ME, headers=bearer(before)).status_code == 200
        assert jane.request("GET", ME).json()["email"] == jane.email


@with_auth
def test_reused_refresh_token(service: Service, jane: Account) -> None:
    """A reused refresh token revokes every token of its family and no other session."""
    other = second_session(jane)
    family = [jane.refresh_token]
    for _ in range(3):
        jane.take(refresh(service, jane.refresh_token))
        family.append(jane.refresh_token)

    refused(service, refresh(service, family[0]))

    for token in reversed(family):
        refused(service, refresh(service, token))
    other.take(refresh(service, other.refresh_token))
    jane.take(service.log_in(jane.email))
    jane.take(refresh(service, jane.refresh_token))


def winner_of_many(service: Service, token: str) -> str:
    """Use a refresh token eight times at once, and return the only pair of tokens that was issued."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: refresh(service, token), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    [winner] = [answer.json()["refresh_token"] for answer in answers if answer.status_code == 200]
    return str(winner)


@with_auth_and_database
def test_concurrent_refresh(service: Service, jane: Account) -> None:
    """Of several simultaneous uses of a refresh token one gets a pair, and its family is revoked as stolen."""
    for _ in range(5):
        refused(service, refresh(service, winner_of_many(service, jane.refresh_token)))
        jane.take(service.log_in(jane.email))
    assert not service.events(level="error")


@pytest.fixture
def replicated(project: Project, settings: dict[str, str]) -> Iterator[Service]:
    """Return the service in two processes on one database."""
    with project.start(settings | {"WEB_CONCURRENCY": "2"}) as service:
        yield service


@with_auth_and_database
def test_concurrent_refresh_in_two_processes(replicated: Service) -> None:
    """A refresh token gives one pair across several processes."""
    jane = Account.new(replicated)
    for _ in range(5):
        refused(replicated, refresh(replicated, winner_of_many(replicated, jane.refresh_token)))
        jane.take(replicated.log_in(jane.email))


@with_auth
def test_expired_refresh_token(project: Project, own_store: Store) -> None:
    """A refresh token expires at its time, even if it was never used."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        jane = Account.new(service)
        own_store.execute("UPDATE refresh_tokens SET expires_at = created_at")
        expired = refresh(service, jane.refresh_token)
        refused(service, expired)
        assert comparable(expired) == comparable(refresh(service, "unknown" * 7))


@with_auth
def test_stored_refresh_token(project: Project, own_store: Store) -> None:
    """Stored tokens and passwords cannot be used to sign in."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        jane = Account.new(service)
        assert own_store.scalar("SELECT count(*) FROM refresh_tokens") == 1
        stored = str(own_store.scalar("SELECT token_hash FROM refresh_tokens"))
        assert stored != jane.refresh_token
        for token in (stored, sha256(jane.refresh_token)):
            refused(service, refresh(service, token))
        password_hash = str(own_store.scalar("SELECT password_hash FROM users"))
        assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert service.log_in(jane.email, password_hash).status_code == 401
        jane.take(refresh(service, jane.refresh_token))


@with_auth
@pytest.mark.parametrize(
    "token", ["", "x", "x" * 10_000, "\0", "ü" * 43, "%00", "null", "' OR ''='", "\ud800" * 43], ids=ascii
)
def test_made_up_refresh_token(service: Service, token: str) -> None:
    """An unknown refresh token is refused, and signing out with it succeeds."""
    service.failure(refresh(service, token), 401, 422)
    assert log_out(service, token).status_code in {204, 422}


@with_auth
def test_access_token_for_a_refresh_token(service: Service, jane: Account) -> None:
    """An access token is not accepted as a refresh token, and the reverse."""
    refused(service, refresh(service, jane.access_token))
    refused(service, service.client.get(ME, headers=bearer(jane.refresh_token)))


@with_auth
def test_log_out(service: Service, jane: Account) -> None:
    """Signing out ends one session, also with a used token, and a second time has no effect."""
    other = second_session(jane)
    first = jane.refresh_token
    jane.take(refresh(service, first))

    answers = [log_out(service, token) for token in (first, jane.refresh_token, jane.refresh_token, "unknown" * 7)]

    assert [answer.status_code for answer in answers] == [204] * 4
    assert not any(answer.content for answer in answers)
    refused(service, refresh(service, jane.refresh_token))
    other.take(refresh(service, other.refresh_token))


@with_auth
def test_password_change(service: Service, jane: Account) -> None:
    """A new password revokes every other token, including access tokens. The current user stays signed in."""
    other = second_session(jane)
    before = jane.access_token, jane.refresh_token

    changed = jane.change_password(OTHER_PASSWORD)

    jane.take(changed)
    assert jane.request("GET", ME).status_code == 200
    for access_token in (before[0], other.access_token):
        refused(service, service.client.get(ME, headers=bearer(access_token)))
    for token in (before[1], other.refresh_token):
        refused(service, refresh(service, token))
    jane.take(refresh(service, jane.refresh_token))
    assert service.log_in(jane.email, PASSWORD).status_code == 401
    assert service.log_in(jane.email, OTHER_PASSWORD).status_code == 200


@with_auth
def test_password_change_without_the_password(service: Service, jane: Account) -> None:
    """Without the current password a signed-in session cannot change it, and no session ends."""
    for wrong in ("", "x" * 200, PASSWORD.upper(), f"{PASSWORD} "):
        body = {"current_password": wrong, "new_password": OTHER_PASSWORD}
        service.failure(jane.request("POST", f"{API}/auth/password", json=body), 403, 422)
    body = {"current_password": PASSWORD, "new_password": "short"}
    service.failure(jane.request("POST", f"{API}/auth/password", json=body), 422)
    jane.take(refresh(service, jane.refresh_token))
    assert service.log_in(jane.email).status_code == 200


@with_auth_and_database
def test_concurrent_password_changes(service: Service, jane: Account) -> None:
    """Of two simultaneous password changes one succeeds, and only its tokens are valid."""
    passwords = [f"{OTHER_PASSWORD} {number}" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(jane.change_password, passwords))
    assert {answer.status_code for answer in answers} <= {200, 401, 403, 409, 422}
    [right] = [password for password in passwords if service.log_in(jane.email, password).status_code == 200]
    good = [
        password
        for answer, password in zip(answers, passwords, strict=True)
        if answer.status_code == 200
        and service.client.get(ME, headers=bearer(answer.json()["access_token"])).status_code == 200
    ]
    assert good == [right]


@with_auth
def test_disabled_user(service: Service, jane: Account, admin: Account) -> None:
    """A disabled user is signed out at once, gets the response for unknown users, and old tokens stay invalid."""
    path = f"{API}/users/{jane.id}"
    assert jane.request("GET", ME).status_code == 200
    answer = admin.request("PATCH", path, json={"disabled": True})
    assert answer.status_code == 200, answer.text

    refused(service, jane.request("GET", ME))
    refused(service, jane.change_password(OTHER_PASSWORD))
    assert comparable(refresh(service, jane.refresh_token)) == comparable(refresh(service, "unknown" * 7))
    assert comparable(service.log_in(jane.email)) == comparable(service.log_in(new_email()))

    assert admin.request("PATCH", path, json={"disabled": False}).status_code == 200
    refused(service, jane.request("GET", ME))
    refused(service, refresh(service, jane.refresh_token))
    jane.take(service.log_in(jane.email))
    assert jane.request("GET", ME).status_code == 200


@with_auth_and_database
def test_disabled_while_refreshing(service: Service, admin: Account) -> None:
    """No token stays valid after an account is disabled during a refresh."""
    for _ in range(5):
        jane = Account.new(service)
        with ThreadPoolExecutor(2) as threads:
            pair = threads.submit(refresh, service, jane.refresh_token)
            end = threads.submit(admin.request, "PATCH", f"{API}/users/{jane.id}", json={"disabled": True})
        assert end.result().status_code == 200
        assert pair.result().status_code in {200, 401}
        if pair.result().status_code == 200:
            jane.take(pair.result())
        refused(service, jane.request("GET", ME))
        refused(service, refresh(service, jane.refresh_token))
        assert admin.request("PATCH", f"{API}/users/{jane.id}", json={"disabled": False}).status_code == 200
        refused(service, jane.request("GET", ME))
        refused(service, refresh(service, jane.refresh_token))


@with_auth
def test_tokens_are_not_kept(service: Service, jane: Account) -> None:
    """Responses with tokens are not stored by caches."""
    answers = [service.log_in(jane.email), refresh(service, jane.refresh_token), jane.change_password(OTHER_PASSWORD)]
    assert [answer.status_code for answer in answers] == [200] * 3
    for answer in answers:
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}


@where(lambda variant: variant.database == "mysql", AUTH_VARIANTS)
def test_newer_mariadb(project: Project, private_server_of: Callable[[Kind], PrivateServer]) -> None:
    """Requests also succeed on servers that reject changes to rows changed since, as MariaDB does from 11.6 on."""
    server = private_server_of("mysql")
    server.execute("SET GLOBAL innodb_snapshot_isolation = ON")
    with server.database() as name:
        store = ServerStore(server, name)
        project.migrate(store)
        with project.start({"DATABASE_URL": store.url}) as service:
            jane = Account.new(service)
            admin = Account.new_admin(service, project, {"DATABASE_URL": store.url})
            for _ in range(4):
                refused(service, refresh(service, winner_of_many(service, jane.refresh_token)))
                jane.take(service.log_in(jane.email))
                path = jane.create_order()
                with ThreadPoolExecutor(8) as threads:
                    notes = [threads.submit(jane.request, "PATCH", path, json={"note": str(n)}) for n in range(4)]
                    changes = [threads.submit(jane.change_password, f"{OTHER_PASSWORD} {n}") for n in range(2)]
                    pair = threads.submit(refresh, service, jane.refresh_token)
                    end = threads.submit(admin.request, "PATCH", f"{API}/users/{jane.id}", json={"disabled": True})
                assert end.result().status_code == 200
                assert {note.result().status_code for note in notes} <= {200, 401}
                assert {change.result().status_code for change in changes} <= {200, 401, 403}
                assert pair.result().status_code in {200, 401}
                jane = Account.new(service)
            assert not service.events(level="error")
