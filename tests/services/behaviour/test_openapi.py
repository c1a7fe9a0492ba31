"""The OpenAPI document, its page, and the responses that generated clients get."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.behaviour.accounts import NO_LIMITS, Account
from tests.services.behaviour.test_http_client import Upstream
from tests.services.behaviour.variants import once_with_everything
from tests.services.running import PACKAGE, Project, Service, Store, new_reference, order

ORIGIN = "https://shop.example"
ORDERS = "/api/v1/orders"
# A second version of the API with a function of the same name as in the first.
SECOND_VERSION = f"""
from fastapi import APIRouter
from {PACKAGE}.main import create_app

app = create_app()
v2 = APIRouter(prefix="/api/v2")

@v2.post("/orders")
async def create_order() -> None: ...

app.include_router(v2)
document = app.openapi()
print(*[document["paths"][f"/api/{{version}}/orders"]["post"]["operationId"] for version in ("v1", "v2")])
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Return the service with exchange rates."""
    upstream = Upstream()
    with upstream.running():
        yield upstream


@pytest.fixture(scope="module")
def service(project: Project, store: Store, upstream: Upstream) -> Iterator[Service]:
    """Return a service with all optional parts and a signed-in user."""
    settings = {
        "DATABASE_URL": store.url,
        "CORS_ORIGINS": ORIGIN,
        "EXCHANGE_RATES_URL": upstream.url,
        "NO_PROXY": "127.0.0.1",
        "RATE_LIMIT_ROUTES": NO_LIMITS,
    }
    with project.start(settings) as service:
        service.sign_in()
        yield service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    """Return the OpenAPI document."""
    document: dict[str, Any] = service.client.get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the operations of the document by their ids."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    by_id = {operation["operationId"]: operation for operation in operations}
    assert len(by_id) == len(operations)
    return by_id


@once_with_everything
def test_operation_ids(operations: dict[str, dict[str, Any]]) -> None:
    """Methods of generated clients have the names of the functions, and there are no HEAD operations."""
    assert operations.keys() == {
        *("change_password", "create_order", "delete_order", "export_orders", "get_liveness", "get_me", "get_order"),
        *("get_order_invoice", "get_order_summary", "get_order_total", "get_readiness", "list_orders"),
        *("list_orders_by_cursor", "list_users", "listen_to_orders", "log_in", "log_out", "refresh_tokens"),
        *("register_user", "update_order", "update_user"),
    }


@once_with_everything
def test_second_version_keeps_the_ids_of_the_first(project: Project, store: Store) -> None:
    """In a second version of the API the operation ID of the same function contains the version."""
    finished = project.run("-c", SECOND_VERSION, settings={"DATABASE_URL": store.url})
    assert finished.stdout.split() == ["create_order", "create_order_v2"]


@once_with_everything
def test_general_part_of_the_document(document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> None:
    """The document passes linters, and operations without security are public."""
    assert document["info"]["license"]["identifier"] == "MIT"
    assert document["info"]["description"]
    assert document["info"]["contact"]
    assert document["servers"] == [{"url": "/"}]
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for operation in operations.values() for tag in operation["tags"]} <= described
    public = {name for name, operation in operations.items() if "security" not in operation}
    assert public == {"get_liveness", "get_readiness", "log_in", "log_out", "refresh_tokens", "register_user"}


@once_with_everything
def test_parameters_and_answers(operations: dict[str, dict[str, Any]]) -> None:
    """Each media type has a schema, and a 201 has a Location header."""

    def content(name: str, media_type: str) -> dict[str, Any]:
        schema: dict[str, Any] = operations[name]["responses"]["200"]["content"][media_type]["schema"]
        return schema

    assert content("get_order_invoice", "text/plain") == {"type": "string"}
    assert content("export_orders", "text/csv") == {"type": "string", "format": "binary"}
    assert "Content-Disposition" in operations["export_orders"]["responses"]["200"]["headers"]
    order, missed = content("listen_to_orders", "text/event-stream")["anyOf"]
    assert order == {"$ref": "#/components/schemas/OrderRead"}
    assert (missed["title"], missed["additionalProperties"], missed["properties"]) == ("Missed", False, {})
    assert "Location" in operations["create_order"]["responses"]["201"]["headers"]


@once_with_everything
def test_schemas(document: dict[str, Any]) -> None:
    """Times have a format, and errors have their required members."""
    schemas = document["components"]["schemas"]
    for schema, field in [("OrderRead", "created_at"), ("OrderRead", "updated_at"), ("UserRead", "created_at")]:
        assert schemas[schema]["properties"][field]["format"] == "date-time"
    assert set(schemas["ErrorBody"]["required"]) == {"code", "message", "request_id"}
    assert schemas["ErrorBody"]["properties"]["details"]["type"] == "array"
    assert set(schemas["TokenPair"]["required"]) == {"access_token", "expires_in", "refresh_token", "token_type"}
    assert schemas["Health"]["required"] == ["status"]


@once_with_everything
def test_docs_page_needs_no_other_server(service: Service) -> None:
    """The page and its resources are loaded only from the service."""
    page = service.request("GET", "/docs")
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(addresses) == 3
    for address in addresses:
        asset = service.request("GET", address)
        assert asset.status_code == 200
        assert asset.content
    assert not re.search("https?:", page.text + page.headers["content-security-policy"])
    for address in ["nothing.js", "../__init__.py", "%2e%2e/__init__.py"]:
        assert service.request("GET", f"/docs/assets/{address}").status_code == 404


@once_with_everything
def test_amounts_have_one_form(service: Service) -> None:
    """A price has the same form in the response to a POST and to a later GET."""
    body = order(new_reference())
    prices = ["1.5", "1.5", "1.5", "0001"]
    body["lines"] = [{"sku": "PEN", "quantity": 1, "unit_price": price} for price in prices]
    created = service.client.post(ORDERS, json=body).json()
    assert created["total"] == "5.50"
    assert [line["unit_price"] for line in created["lines"]] == ["1.50", "1.50", "1.50", "1.00"]
    path = f"{ORDERS}/{created['id']}"
    assert service.client.get(path).json() == created
    assert service.client.patch(path, json={"note": None}).json()["lines"] == created["lines"]


@once_with_everything
def test_unsupported_bodies(service: Service) -> None:
    """A body with another content type, a compressed body and a missing body are client errors."""
    body = json.dumps(order(new_reference())).encode()
    as_json, token = "application/json", "/api/v1/auth/token"
    for path, content, headers, status in [
        (ORDERS, body, {"Content-Type": "text/plain"}, 422),
        (ORDERS, body, {"Content-Type": "application/x-www-form-urlencoded"}, 422),
        (ORDERS, body, {}, 422),
        (ORDERS, gzip.compress(body), {"Content-Type": as_json, "Content-Encoding": "gzip"}, 400),
        (token, b"{}", {"Content-Type": as_json}, 422),
        (ORDERS, b"{", {"Content-Type": as_json}, 422),
        (ORDERS, b"", {}, 422),
        (token, b"", {}, 422),
    ]:
        service.failure(service.client.post(path, content=content, headers=headers), status)


@once_with_everything
def test_pages_of_other_origins_read_the_headers(service: Service) -> None:
    """CORS exposes every header that a client needs, including those of errors."""
    for path in ("/health", "/nowhere"):
        exposed = service.client.get(path, headers={"Origin": ORIGIN}).headers["access-control-expose-headers"]
        assert set(exposed.split(", ")) >= {
            *("Content-Disposition", "Location", "Retry-After", "X-Request-ID"),
            *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
        }


@once_with_everything
def test_rates_are_asked_for_one_s_own_orders(service: Service, upstream: Upstream) -> None:
    """No exchange rate is requested for another user's order."""
    created = service.create_order(new_reference()).json()
    path = f"{ORDERS}/{created['id']}/total?currency=EUR"
    assert Account.new(service).request("GET", path).status_code == 404
    assert upstream.requests == []
    assert service.client.get(path).status_code == 200
    assert len(upstream.requests) == 1
