"""Run the service three times in one process, chosen by the query.

Two processes can differ by as much as a limit costs.
"""

from app.core.http.middleware.rate_limit import RateLimitMiddleware
from app.core.http.rate_limits import RouteLimit
from app.core.settings import Settings
from app.main import create_app
from starlette.types import Receive, Scope, Send

settings = Settings()
route = RouteLimit("GET", "/docs", settings.rate_limit)
services = {
    b"limited": create_app(settings),
    b"route": create_app(settings.model_copy(update={"rate_limit_routes": [route]})),
    b"without": create_app(settings),
}
without = services[b"without"]
without.user_middleware = [each for each in without.user_middleware if each.cls is not RateLimitMiddleware]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Call the service that the query names; the lifespan is that of `limited`."""
    await services[scope.get("query_string") or b"limited"](scope, receive, send)
