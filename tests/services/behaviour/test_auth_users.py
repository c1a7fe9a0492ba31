"""Ownership, permissions, and the creation of the first admin."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pexpect
import pytest

from tests.services.behaviour.accounts import (
    API,
    ME,
    ORDERS,
    Account,
    comparable,
    create_admin,
    new_email,
    refresh,
    refused,
)
from tests.services.behaviour.variants import with_auth, with_auth_and_database
from tests.services.running import PACKAGE, PASSWORD, Project, Service, Store, new_reference, order

USERS = f"{API}/users"
NOWHERE = "019c0000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def jane(service: Service) -> Account:
    """Return the owner of an order."""
    return Account.new(service)


@pytest.fixture(scope="module")
def mallory(service: Service) -> Account:
    """Return a user who tries to get access to it."""
    return Account.new(service)


@pytest.fixture(scope="module")
def admin(service: Service, project: Project, settings: dict[str, str]) -> Account:
    """Return an admin whom no test may demote."""
    return Account.new_admin(service, project, settings)


@pytest.fixture
def own_service(project: Project, own_store: Store) -> Iterator[Service]:
    """Return a service with its own database."""
    with project.start({"DATABASE_URL": own_store.url}) as service:
        yield service


def listed(account: Account) -> set[str]:
    """Return the URLs of the orders that a user sees in pages."""
    page = account.request("GET", ORDERS, params={"size": 100}).json()
    assert page["total"] == len(page["items"])
    return {f"{ORDERS}/{item['id']}" for item in page["items"]}


def fed(account: Account, limit: int) -> set[str]:
    """Return the URLs of the orders that a user sees with a cursor."""
    found: set[str] = set()
    cursor = None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = account.request("GET", f"{ORDERS}/feed", params=query).json()
        found |= {f"{ORDERS}/{item['id']}" for item in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@with_auth
@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("GET", "/invoice", None),
        ("PATCH", "", {"note": "mine now"}),
        ("PATCH", "", {"status": "confirmed"}),
        ("DELETE", "", None),
    ],
)
def test_order_of_another(
    service: Service, jane: Account, mallory: Account, method: str, suffix: str, body: dict[str, str] | None
) -> None:
    """A request for another user's order gets the same response as one for an unknown order, and changes nothing."""
    path = jane.create_order()
    before = jane.request("GET", path).json()

    answer = mallory.request(method, f"{path}{suffix}", json=body)

    service.failure(answer, 404)
    nowhere = mallory.request(method, f"{ORDERS}/{NOWHERE}{suffix}", json=body)
    expected = comparable(nowhere)
    assert comparable(answer) == (*expected[:2], expected[2].replace(NOWHERE, path.rpartition("/")[2]))
    assert jane.request("GET", path).json() == before


@with_auth_and_database
def test_lists_of_orders(service: Service, admin: Account) -> None:
    """Lists, totals and cursors cover a user's own orders. An admin's cover all orders."""
    jane, mallory = Account.new(service), Account.new(service)
    mine = {jane.create_order() for _ in range(3)}
    others = {mallory.create_order() for _ in range(3)}
    mine |= {jane.create_order() for _ in range(2)}

    assert listed(jane) == fed(jane, 2) == mine
    assert listed(mallory) == fed(mallory, 1) == others
    assert fed(admin, 100) >= mine | others
    for path in mine:
        assert admin.request("GET", path).status_code == 200
    # A cursor of another user shows only one's own orders.
    cursor = jane.request("GET", f"{ORDERS}/feed", params={"limit": 1}).json()["next_cursor"]
    page = mallory.request("GET", f"{ORDERS}/feed", params={"cursor": cursor, "limit": 100}).json()
    assert {f"{ORDERS}/{item['id']}" for item in page["items"]} <= others


@with_auth
def test_criteria_find_no_others(service: Service) -> None:
    """A filter applies to a user's own orders and does not find those of others."""
    jane, mallory = Account.new(service), Account.new(service)
    jane.create_order()
    for query in ({"status": "draft"}, {"created_from": "2020-01-01T00:00:00Z"}, {"owner_id": jane.id}):
        answer = mallory.request("GET", ORDERS, params=query)
        assert answer.status_code == 422 or answer.json()["items"] == []


@with_auth
def test_order_for_another(service: Service, jane: Account, mallory: Account) -> None:
    """A request cannot choose the owner of an order."""
    body = order(new_reference()) | {"owner_id": jane.id}
    service.failure(mallory.request("POST", ORDERS, json=body), 422)
    path = mallory.create_order()
    service.failure(mallory.request("PATCH", path, json={"owner_id": jane.id}), 422)
    assert path in listed(mallory)


@with_auth
def test_order_of_nobody(own_service: Service, own_store: Store, project: Project) -> None:
    """An order from before the service had users is visible only to admins."""
    jane = Account.new(own_service)
    admin = Account.new_admin(own_service, project, {"DATABASE_URL": own_store.url})
    path = jane.create_order()
    own_store.execute("UPDATE orders SET owner_id = NULL")
    assert jane.request("GET", path).status_code == 404
    assert listed(jane) == fed(jane, 100) == set()
    assert listed(admin) == fed(admin, 100) == {path}
    assert admin.request("PATCH", path, json={"note": "found"}).status_code == 200


@with_auth
def test_users_are_for_admins(service: Service, jane: Account, admin: Account) -> None:
    """A user is refused for every user route, and an admin gets pages of all users."""
    for response in (
        jane.request("GET", USERS),
        jane.request("PATCH", f"{USERS}/{jane.id}", json={"role": "admin"}),
        jane.request("PATCH", f"{USERS}/{admin.id}", json={"disabled": True}),
        jane.request("PATCH", f"{USERS}/{NOWHERE}", json={"disabled": True}),
    ):
        assert service.failure(response, 403).code == "forbidden"
    found: list[str] = []
    page = 1
    while items := (answer := admin.request("GET", USERS, params={"page": page, "size": 5}).json())["items"]:
        assert all(set(item) == {"id", "email", "role", "created_at"} | (set(item) & {"disabled"}) for item in items)
        found += [item["id"] for item in items]
        page += 1
    assert len(found) == len(set(found)) == answer["total"]
    assert {jane.id, admin.id} <= set(found)
    service.failure(admin.request("PATCH", f"{USERS}/{NOWHERE}", json={"disabled": True}), 404)
    service.failure(admin.request("PATCH", f"{USERS}/{jane.id}", json={"role": "god"}), 422)


@with_auth
def test_role_removed_while_signed_in(service: Service, project: Project, admin: Account) -> None:
    """A new or removed role applies from the next request on, with the same token."""
    jane = Account.new(service)
    path = f"{USERS}/{jane.id}"
    order_of_another = admin.create_order()
    for role, status, found in (("admin", 200, 200), ("user", 403, 404), ("admin", 200, 200), ("user", 403, 404)):
        assert admin.request("PATCH", path, json={"role": role}).json()["role"] == role
        assert jane.request("GET", USERS).status_code == status
        assert jane.request("GET", order_of_another).status_code == found
        assert jane.request("GET", ME).json()["role"] == role


@with_auth
def test_role_of_ones_own_choice(service: Service) -> None:
    """A registration cannot choose a role."""
    for extra in ({"role": "admin"}, {"disabled": False}, {"token_version": 7}, {"id": NOWHERE}):
        email = new_email()
        answer = service.request("POST", f"{API}/auth/register", json={"email": email, "password": PASSWORD} | extra)
        service.failure(answer, 422)
        assert service.log_in(email).status_code == 401
    registered = service.register(new_email())
    assert registered.json()["role"] == "user"
    assert set(registered.json()) == {"id", "email", "role", "created_at"} | (set(registered.json()) & {"disabled"})


@with_auth_and_database
def test_last_admin(own_service: Service, own_store: Store, project: Project) -> None:
    """The last admin cannot be demoted, even by two simultaneous requests."""
    one = Account.new_admin(own_service, project, {"DATABASE_URL": own_store.url})
    for change in ({"role": "user"}, {"disabled": True}):
        own_service.failure(one.request("PATCH", f"{USERS}/{one.id}", json=change), 409)
    for change in ({"role": "user"}, {"disabled": True}) * 3:
        two = Account.new(own_service)
        assert one.request("PATCH", f"{USERS}/{two.id}", json={"role": "admin"}).status_code == 200
        with ThreadPoolExecutor(2) as threads:
            pairs = ((one, two), (two, one))
            ends = [threads.submit(by.request, "PATCH", f"{USERS}/{of.id}", json=change) for by, of in pairs]
        assert {end.result().status_code for end in ends} <= {200, 401, 403, 409}
        [one] = [account for account in (one, two) if account.request("GET", USERS).status_code == 200]
    assert not own_service.events(level="error")


@with_auth_and_database
def test_same_address_twice(service: Service) -> None:
    """An email address has one account, in upper or lower case and with simultaneous requests."""
    email = new_email()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: service.register(email), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    service.failure(service.register(email.upper()), 409)
    assert service.log_in(email.upper()).status_code == 200
    assert not service.events(level="error")


@with_auth
@pytest.mark.parametrize(
    "email",
    [
        "",
        "jane",
        "jane@",
        "@shop.example",
        "jane@shop@example.com",
        "jane doe@shop.example",
        "jane@shop.example\n",
        "jane@shop.example\0",
        "Jane <jane@shop.example>",
        f"{'x' * 250}@shop.example",
        "x" * 10_000,
        "jane@shop.example, joe@shop.example",
        "jane\r\nBcc: joe@shop.example",
        "\ud800@shop.example",
        None,
        ["jane@shop.example"],
    ],
    ids=lambda email: ascii(email)[:40],
)
def test_no_address(service: Service, email: object) -> None:
    """An invalid email address gets no account."""
    body = json.dumps({"email": email, "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    answer = service.request("POST", f"{API}/auth/register", content=body, headers=headers)
    service.failure(answer, 400, 422)
    assert PASSWORD not in answer.text


@with_auth
def test_first_admin(project: Project, own_service: Service, own_store: Store) -> None:
    """The command creates an admin. If the address was already registered, the earlier user loses all access."""
    settings = {"DATABASE_URL": own_store.url}
    squatter = Account.new(own_service)
    promoted = create_admin(project, settings, squatter.email.upper(), "a phrase of the operator's own")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    refused(own_service, squatter.request("GET", USERS))
    refused(own_service, refresh(own_service, squatter.refresh_token))
    assert own_service.log_in(squatter.email).status_code == 401
    admin = Account(own_service, squatter.email, "a phrase of the operator's own")
    assert (admin.id, admin.request("GET", USERS).status_code) == (squatter.id, 200)

    email = new_email()
    made = create_admin(project, settings, email)
    assert made.returncode == 0, made.stdout + made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    assert Account(own_service, email).request("GET", USERS).status_code == 200


@with_auth
def test_admin_refused(project: Project, own_service: Service, own_store: Store) -> None:
    """The command reports an error in one line, creates no user, and reads no password where others could see it."""
    settings = {"DATABASE_URL": own_store.url}
    nowhere = {
        "sqlite": "sqlite+aiosqlite:////nowhere/data.db",
        "postgresql": "postgresql+asyncpg://app@127.0.0.1:9/app",
        "mysql": "mysql+asyncmy://app@127.0.0.1:9/app",
    }[project.variant.database]
    for finished in (
        create_admin(project, settings, "no address"),
        create_admin(project, settings, new_email(), "short"),
        create_admin(project, settings, new_email(), "x" * 10_000),
        create_admin(project, {"DATABASE_URL": nowhere}, new_email()),
        project.run("-m", PACKAGE, "create-admin", settings=settings, typed=""),
        project.run("-m", PACKAGE, "create-admin", new_email(), PASSWORD, settings=settings, typed=f"{PASSWORD}\n"),
    ):
        output = finished.stdout + finished.stderr
        assert finished.returncode != 0
        assert output.strip()
        assert "Traceback" not in output
        assert "x" * 200 not in output
    assert own_store.scalar("SELECT count(*) FROM users") == 0


@with_auth
def test_admin_by_hand(project: Project, own_service: Service, own_store: Store) -> None:
    """At a terminal the command asks for the password and does not show it."""
    email = new_email()
    terminal = pexpect.spawn(
        str(project.python),
        ["-m", PACKAGE, "create-admin", email],
        cwd=str(project.folder),
        env={**project.environment({"DATABASE_URL": own_store.url}), "TERM": "dumb"},
        encoding="utf-8",
        timeout=30,
    )
    shown = ""
    while terminal.expect(["[A-Z][a-z ]*: $", pexpect.EOF]) == 0:
        shown += f"{terminal.before}{terminal.after}"
        terminal.sendline(PASSWORD)
    shown += terminal.before or ""
    terminal.close()
    assert os.WEXITSTATUS(terminal.status or 0) == terminal.exitstatus == 0, shown
    assert PASSWORD not in shown
    assert Account(own_service, email).request("GET", USERS).status_code == 200
