"""HEAD, which load balancers, monitors and link checkers send."""

import httpx2
import pytest

from tests.services.behaviour.variants import with_everything
from tests.services.running import Service, new_reference

# They differ between two responses of one route, or belong to the body.
OWN = {
    "date",
    "ratelimit-remaining",
    "ratelimit-reset",
    "server-timing",
    "transfer-encoding",
    "x-process-time-ms",
    "x-request-id",
}
ENDLESS = "/api/v1/orders/events"


@pytest.fixture(scope="module")
def paths(service: Service) -> list[str]:
    """Return the path of every GET of the service, with an order that exists."""
    document = service.client.get("/openapi.json").json()
    assert all("head" not in operations for operations in document["paths"].values())
    location = service.create_order(new_reference()).headers["location"]
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    order_id = location.rpartition("/")[2]
    return [path.replace("{order_id}", order_id) for path in [*paths, "/docs", "/openapi.json", "/nothing"]]


def comparable(response: httpx2.Response) -> dict[str, str]:
    """Return the headers that two responses of one route have in common."""
    return {name: value for name, value in response.headers.items() if name not in OWN}


@with_everything
def test_head_is_get_without_a_body(service: Service, paths: list[str]) -> None:
    """It has the status and the headers of GET, no body, and leaves the connection usable."""
    assert len(paths) > 8
    for path in paths:
        head = service.client.head(path)
        assert head.content == b"", path
        if path == ENDLESS:
            assert head.status_code == 200
            assert head.headers["content-type"].startswith("text/event-stream")
            continue
        get = service.client.get(path)
        assert head.status_code == get.status_code, path
        assert comparable(head) == comparable(get), path
    service.wait_for_event(event="request", method="HEAD", route="/api/v1/orders/{order_id:uuid}", status=200)


@with_everything
def test_head_counts_as_get(service: Service) -> None:
    """It takes as much of the rate limit as GET does; where there is no GET, it is a 405 like GET."""
    before, after = (service.client.head("/api/v1/orders") for _ in range(2))
    assert int(after.headers["ratelimit-remaining"]) == int(before.headers["ratelimit-remaining"]) - 1
    refused = service.client.head("/api/v1/auth/logout")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "POST"
