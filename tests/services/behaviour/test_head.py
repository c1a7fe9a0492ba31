"""HEAD requests, which load balancers and monitors send to the health routes."""

import pytest

from tests.services.behaviour.variants import once
from tests.services.running import Service


@once
@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health(service: Service, path: str) -> None:
    """A health route responds to HEAD with the status of GET and no body, and keeps the connection open."""
    for _ in range(2):
        head, get = service.client.head(path), service.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
    service.wait_for_event(event="request", method="HEAD", route=path, status=200)


@once
def test_other_routes(service: Service) -> None:
    """Other routes return FastAPI's 405 for HEAD, and the document has no such operations."""
    document = service.client.get("/openapi.json").json()
    assert all("head" not in operations for operations in document["paths"].values())
    refused = service.client.head("/api/v1/orders")
    assert (refused.status_code, refused.content) == (405, b"")
