"""Run the service three times in one process, chosen by the query.

Two processes can differ by as much as a limit costs.
"""

from fastapi import Depends, FastAPI, Response
from fastapi.params import Depends as Dependency
from starlette.types import Receive, Scope, Send

from app.core.http.rate_limit.limits import RateLimitMiddleware, RouteLimit
from app.main import create_app
from app.settings import Settings

settings = Settings()


def create_measured_app(*dependencies: Dependency) -> FastAPI:
    """Return the service with a cheap route that has these dependencies."""
    service = create_app(settings)

    @service.get("/measured", dependencies=dependencies)
    async def measured() -> Response:
        return Response()

    return service


services = {
    b"limited": create_measured_app(),
    b"route": create_measured_app(Depends(RouteLimit("999999999/minute"))),
    b"without": create_measured_app(),
}
without = services[b"without"]
without.user_middleware = [each for each in without.user_middleware if each.cls is not RateLimitMiddleware]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Call the service that the query names; the lifespan is that of `limited`."""
    await services[scope.get("query_string") or b"limited"](scope, receive, send)
