"""Sign-in data in the OpenAPI document, the docs page and the logs."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

from tests.services.behaviour.accounts import (
    API,
    ME,
    ORDERS,
    Account,
    bearer,
    create_admin,
    forge,
    log_out,
    new_email,
    refresh,
    refused,
)
from tests.services.behaviour.variants import with_auth
from tests.services.running import PASSWORD, SECRET_KEY, Project, Service, Store

OTHER_PASSWORD = "another phrase that nobody may read"


@with_auth
def test_authorize_button(service: Service) -> None:
    """The Authorize button of the docs page finds one OAuth2 password flow and gets a valid token from it."""
    email = Account.new(service).email
    docs = f"{service.url}/docs"
    assert service.request("GET", "/docs").status_code == 200
    document = service.request("GET", "/openapi.json").json()
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert scheme["type"] == "oauth2"
    assert scheme["flows"].keys() == {"password"}
    flow = scheme["flows"]["password"]

    # Swagger UI resolves URLs relative to its page, and sends these values by default.
    form = {"grant_type": "password", "scope": "", "username": email, "password": PASSWORD}
    headers = {"Authorization": "Basic Og==", "X-Requested-With": "XMLHttpRequest", "Accept": "application/json"}
    answer = service.request("POST", urljoin(docs, flow["tokenUrl"]), data=form, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "bearer"
    assert service.request("GET", ME, headers=bearer(answer.json()["access_token"])).json()["email"] == email

    assert flow.get("scopes", {}) == {}
    known = {urljoin(docs, path) for path, methods in document["paths"].items() if "post" in methods}
    assert {urljoin(docs, flow[key]) for key in ("tokenUrl", "refreshUrl") if key in flow} <= known
    secured = [item for methods in document["paths"].values() for item in methods.values() if "security" in item]
    assert secured
    assert all(item["security"] == [{name: []}] for item in secured)


@with_auth
def test_document_keeps_passwords_hidden(service: Service) -> None:
    """The document marks passwords, so that pages hide them in forms and no response contains them."""
    schemas = service.request("GET", "/openapi.json").json()["components"]["schemas"]
    fields = {
        (name, field): item for name, schema in schemas.items() for field, item in schema.get("properties", {}).items()
    }
    passwords = {key: item for key, item in fields.items() if "password" in key[1]}
    assert {field for _, field in passwords} >= {"password", "current_password", "new_password"}
    assert all(item.get("format") == "password" for item in passwords.values())
    # A generated client treats this format as a secret and would print and send asterisks.
    assert not [key for key, item in fields.items() if "token" in key[1] and "format" in item]
    assert not [key for key in fields if "hash" in key[1] or "version" in key[1]]


def secrets_of(*accounts: Account) -> set[str]:
    """Return the secrets of these accounts."""
    return {text for account in accounts for text in (account.password, account.access_token, account.refresh_token)}


@with_auth
def test_nothing_secret_is_logged(project: Project, own_store: Store) -> None:
    """No log line contains a password, a token, a hash or a key, even at the lowest level and after errors."""
    settings = {"DATABASE_URL": own_store.url, "LOG_LEVEL": "DEBUG"}
    with project.start(settings) as service:
        jane = Account.new(service)
        secrets = secrets_of(jane) | {SECRET_KEY, OTHER_PASSWORD}
        jane.take(refresh(service, first := jane.refresh_token))
        secrets |= secrets_of(jane)
        jane.take(jane.change_password(OTHER_PASSWORD))
        secrets |= secrets_of(jane)
        admin = Account.new_admin(service, project, settings)
        secrets |= secrets_of(admin)
        made = create_admin(project, settings, new_email(), OTHER_PASSWORD)
        printed = made.stdout + made.stderr

        # Requests that are refused with a message.
        assert service.log_in(jane.email, f"{OTHER_PASSWORD}!").status_code == 401
        assert service.register(jane.email, OTHER_PASSWORD).status_code == 409
        with ThreadPoolExecutor(4) as threads:
            email = new_email()
            assert 201 in {answer.status_code for answer in threads.map(lambda _: service.register(email), range(4))}
        service.failure(service.register("no address", OTHER_PASSWORD), 422)
        refused(service, refresh(service, first))
        refused(service, service.request("GET", ME, headers=bearer(forge(jane.access_token, claims={"exp": 1}))))
        service.request("GET", f"/api/v1/nothing?access_token={jane.access_token}", headers=bearer(jane.access_token))
        jane.request("GET", "/probe/fail")
        assert log_out(service, jane.refresh_token).status_code == 204

        # Requests that fail and are logged with full details.
        own_store.execute("DROP TABLE refresh_tokens")
        assert service.log_in(admin.email).status_code == 500
        assert refresh(service, admin.refresh_token).status_code == 500
        own_store.execute("ALTER TABLE users RENAME COLUMN password_hash TO another")
        assert service.register(new_email(), OTHER_PASSWORD).status_code == 500
        assert admin.request("GET", ORDERS).status_code == 500
        last = service.request("GET", "/api/v1/nothing").headers["x-request-id"]
        service.wait_for_event(event="request", request_id=last)
        lines = [*service.lines, *printed.splitlines()]

    secrets |= {"$argon2", "Bearer ey", "password_hash='"}
    assert not [line for line in lines if any(secret in line for secret in secrets)]


@with_auth
def test_refused_in_every_way_a_client_asks(service: Service) -> None:
    """A page of a known origin may read a refusal, and its preflight request needs no token."""
    origin = {"Origin": "https://shop.example"}
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    preflight = service.request("OPTIONS", ME, headers=origin | asked)
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = service.request("GET", ME, headers=origin)
    refused(service, answer)
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    assert "set-cookie" not in answer.headers


@with_auth
def test_keys_of_two_services(project: Project, own_store: Store) -> None:
    """A token of a service with another key, issuer or audience is invalid, even with the same database."""
    own = {"DATABASE_URL": own_store.url}
    with project.start(own) as service:
        jane = Account.new(service)
        for setting in ({"SECRET_KEY": "k" * 40}, {"TOKEN_ISSUER": "warehouse"}, {"TOKEN_AUDIENCE": "warehouse"}):
            with project.start(own | setting) as other:
                refused(other, other.request("GET", ME, headers=bearer(jane.access_token)))
                assert Account(other, jane.email).request("GET", ME).json()["id"] == jane.id
        assert service.request("GET", f"{API}/users/me", headers=bearer(jane.access_token)).status_code == 200
