"""The service keeps to its OpenAPI document, whatever is sent to it, by whomever."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.behaviour.accounts import NO_LIMITS, Account
from tests.services.behaviour.test_http_client import Upstream
from tests.services.behaviour.variants import AUTH_VARIANTS, once, where, with_auth, with_everything
from tests.services.running import Project, Service, Store

EXAMPLES = 15
GOOD = range(200, 300)
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Nobody makes up what these want: a password or a token that is somebody's.
TOKENS = {("POST", f"/api/v1/auth/{name}") for name in ("token", "refresh", "password")}
FOR_ADMINS = {("GET", "/api/v1/users"), ("PATCH", "/api/v1/users/{user_id}")}
# The account that an admin may do anything to: somebody else's.
VICTIM = """
[[operations]]
include-name = "PATCH /api/v1/users/{user_id}"
parameters."path.user_id" = "%s"
"""
# What goes on for as long as its client listens; tests/services/behaviour/test_events.py is about it.
ENDLESS = {("GET", "/api/v1/orders/events")}
# Whether schemathesis follows an order to its total depends on the order of the operations. test_http_client.py does.
LINKED = {("GET", "/api/v1/orders/{order_id}/total")}
# There is a rate for some currencies only.
CURRENCIES = """
[[operations]]
include-name = "GET /api/v1/orders/{order_id}/total"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 404, 422]
"""


def examine(service: Service, folder: Path, *options: str, configuration: str = "") -> None:
    """Fail unless no check of schemathesis finds a fault."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION.read_text() + configuration)
    finished = subprocess.run(
        [
            *(Path(sys.executable).with_name("st"), "--config-file", folder / "schemathesis.toml"),
            *("run", f"{service.url}/openapi.json", "--checks", "all", "--no-color"),
            *("--max-examples", str(EXAMPLES), "--request-timeout", "10"),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if finished.returncode != 0:
        pytest.fail(finished.stdout + finished.stderr, pytrace=False)
    assert not service.events(level="error")


def documented(service: Service, *, guarded: bool | None = None) -> set[tuple[str, str]]:
    """Return the operations that the document has, or those of them for which one signs in or does not."""
    document = service.client.get("/openapi.json").json()
    return {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if guarded in {None, bool(operation.get("security"))}
    }


def answered(service: Service, statuses: range) -> set[tuple[str, str]]:
    """Return the operations that answered with one of these statuses."""
    return {
        (event["method"], re.sub(r":\w+}", "}", event["route"]))
        for event in service.events(event="request")
        if event["route"] and event["status"] in statuses
    }


def settings_of(store: Store) -> dict[str, str]:
    """Return the settings of a service whose log tells of every request."""
    return {"DATABASE_URL": store.url, "ACCESS_LOG_HEALTH": "true"}


@once
def test_schemathesis(service: Service, tmp_path: Path) -> None:
    """No check of schemathesis finds a fault: no 5xx, no undocumented status, nothing good refused or bad taken."""
    examine(service, tmp_path)
    # Refusing everything would pass, too: each route has answered well.
    assert documented(service) <= answered(service, GOOD)


@where(lambda variant: variant.database == "sqlite", AUTH_VARIANTS)
def test_schemathesis_as_a_stranger(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The same for somebody who is not signed in, and is told so wherever that matters."""
    with project.start(settings_of(own_store)) as service:
        examine(service, tmp_path)
        assert documented(service, guarded=False) <= answered(service, GOOD) | TOKENS
        guarded = documented(service, guarded=True)
        assert guarded <= answered(service, range(401, 402))
        assert not guarded & answered(service, GOOD)


@pytest.mark.full
@with_auth
def test_schemathesis_as_a_user(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The same for a user, who gets everything but what is for admins."""
    with project.start(settings_of(own_store)) as service:
        jane = Account.new(service)
        examine(service, tmp_path, "--header", f"Authorization: Bearer {jane.access_token}")
        assert documented(service) <= answered(service, GOOD) | TOKENS | FOR_ADMINS
        assert answered(service, range(403, 404)) >= FOR_ADMINS
        assert not FOR_ADMINS & answered(service, GOOD)


@pytest.mark.full
@where(lambda variant: variant.database != "sqlite", AUTH_VARIANTS)
def test_schemathesis_as_an_admin(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The same for an admin, who gets everything."""
    settings = settings_of(own_store)
    with project.start(settings) as service:
        admin = Account.new_admin(service, project, settings)
        victim = VICTIM % Account.new(service).id
        examine(service, tmp_path, "--header", f"Authorization: Bearer {admin.access_token}", configuration=victim)
        assert documented(service) <= answered(service, GOOD) | TOKENS


@with_everything
def test_schemathesis_with_everything(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The same with every part of a service, for a user and for a stranger."""
    upstream = Upstream()
    with upstream.running():
        # What is limited is another test's matter: schemathesis asks as often as it likes.
        settings = settings_of(own_store) | {
            "EXCHANGE_RATES_URL": upstream.url,
            "NO_PROXY": "127.0.0.1",
            "RATE_LIMIT": "1000000/second",
            "RATE_LIMIT_ROUTES": NO_LIMITS,
        }
        without = [option for _, path in sorted(ENDLESS) for option in ("--exclude-path", path)]
        with project.start(settings) as service:
            examine(service, tmp_path, *without, configuration=CURRENCIES)
            guarded = documented(service, guarded=True)
            assert guarded <= answered(service, range(401, 402)) | ENDLESS
            assert not guarded & answered(service, GOOD)
            jane = Account.new(service)
            header = f"Authorization: Bearer {jane.access_token}"
            examine(service, tmp_path, *without, "--header", header, configuration=CURRENCIES)
            assert documented(service) <= answered(service, GOOD) | TOKENS | FOR_ADMINS | ENDLESS | LINKED
