"""The service conforms to its OpenAPI document for all inputs and users."""

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
# Generated values cannot be a valid password or token.
TOKENS = {("POST", f"/api/v1/auth/{name}") for name in ("token", "refresh", "password")}
FOR_ADMINS = {("GET", "/api/v1/users"), ("PATCH", "/api/v1/users/{user_id}")}
# An account that an admin may change: it belongs to another user.
VICTIM = """
[[operations]]
include-name = "PATCH /api/v1/users/{user_id}"
parameters."path.user_id" = "%s"
"""
# Streams that last as long as their client. test_events.py tests them.
ENDLESS = {("GET", "/api/v1/orders/events")}
# Whether schemathesis requests an order's total depends on the order of operations. test_http_client.py tests it.
LINKED = {("GET", "/api/v1/orders/{order_id}/total")}
# A rate exists only for some currencies.
CURRENCIES = """
[[operations]]
include-name = "GET /api/v1/orders/{order_id}/total"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 404, 422]
"""


def examine(service: Service, folder: Path, *options: str, configuration: str = "") -> None:
    """Require that no check of schemathesis fails."""
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
    """Return the operations of the document, or only those with or without authentication."""
    document = service.client.get("/openapi.json").json()
    return {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if guarded in {None, bool(operation.get("security"))}
    }


def answered(service: Service, statuses: range) -> set[tuple[str, str]]:
    """Return the operations with one of these response statuses."""
    return {
        (event["method"], re.sub(r":\w+}", "}", event["route"]))
        for event in service.events(event="request")
        if event["route"] and event["status"] in statuses
    }


def settings_of(store: Store) -> dict[str, str]:
    """Return the settings of a service that logs every request."""
    return {"DATABASE_URL": store.url, "ACCESS_LOG_HEALTH": "true"}


@once
def test_schemathesis(service: Service, tmp_path: Path) -> None:
    """Schemathesis finds no 5xx, no undocumented status, and no wrong accept or refusal."""
    examine(service, tmp_path)
    # A service that refuses everything would pass too, so each route must have succeeded.
    assert documented(service) <= answered(service, GOOD)


@where(lambda variant: variant.database == "sqlite", AUTH_VARIANTS)
def test_schemathesis_as_a_stranger(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The document is correct for a client without authentication, which gets a 401 where one is documented."""
    with project.start(settings_of(own_store)) as service:
        examine(service, tmp_path)
        assert documented(service, guarded=False) <= answered(service, GOOD) | TOKENS
        guarded = documented(service, guarded=True)
        assert guarded <= answered(service, range(401, 402))
        assert not guarded & answered(service, GOOD)


@pytest.mark.full
@with_auth
def test_schemathesis_as_a_user(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The document is correct for a user, who may use everything except admin routes."""
    with project.start(settings_of(own_store)) as service:
        jane = Account.new(service)
        examine(service, tmp_path, "--header", f"Authorization: Bearer {jane.access_token}")
        assert documented(service) <= answered(service, GOOD) | TOKENS | FOR_ADMINS
        assert answered(service, range(403, 404)) >= FOR_ADMINS
        assert not FOR_ADMINS & answered(service, GOOD)


@pytest.mark.full
@where(lambda variant: variant.database != "sqlite", AUTH_VARIANTS)
def test_schemathesis_as_an_admin(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The document is correct for an admin, who may use everything."""
    settings = settings_of(own_store)
    with project.start(settings) as service:
        admin = Account.new_admin(service, project, settings)
        victim = VICTIM % Account.new(service).id
        examine(service, tmp_path, "--header", f"Authorization: Bearer {admin.access_token}", configuration=victim)
        assert documented(service) <= answered(service, GOOD) | TOKENS


@with_everything
def test_schemathesis_with_everything(project: Project, own_store: Store, tmp_path: Path) -> None:
    """The document is correct for a service with all optional parts, with and without authentication."""
    upstream = Upstream()
    with upstream.running():
        # Other tests cover limits. schemathesis needs many requests.
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
