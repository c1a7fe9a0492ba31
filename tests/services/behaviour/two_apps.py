"""Two applications with different settings in one process, run by the interpreter of a service."""

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from httpx2 import ASGITransport, AsyncClient

Application = Callable[[dict[str, object], object, object], Awaitable[None]]


async def main(package: str, settings: list[dict[str, Any]], body: dict[str, Any] | None) -> None:
    """Send the same requests to both applications, and print the responses."""
    main_module = importlib.import_module(f"{package}.main")
    settings_class = importlib.import_module(f"{package}.settings").Settings
    answers: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        clients = []
        for values in settings:
            app = main_module.create_app(settings_class(_env_file=None, **values))
            state = await stack.enter_async_context(app.router.lifespan_context(app))
            transport = ASGITransport(app=_with_state(app, state))  # type: ignore[arg-type]
            clients.append(await stack.enter_async_context(AsyncClient(transport=transport, base_url="http://test")))
        for client in clients:
            created = await client.post("/api/v1/orders", json=body)
            large = await client.post("/api/v1/orders", content=b"x" * 2000, headers={"Content-Type": "text/plain"})
            ready = await client.get("/health/ready", headers={"Origin": "https://one.example"})
            answers.append(
                {
                    "created": created.status_code,
                    "large": large.status_code,
                    "docs": (await client.get("/docs")).status_code,
                    "ready": ready.status_code,
                    "cors": "access-control-allow-origin" in ready.headers,
                }
            )
        for client, answer in zip(clients, answers, strict=True):
            answer["total"] = (await client.get("/api/v1/orders")).json()["total"]
            page = await client.get("/api/v1/orders/feed", params={"limit": 1})
            cursor = page.json()["next_cursor"]
            answer["cursor_accepted"] = [
                (await other.get("/api/v1/orders/feed", params={"cursor": cursor})).status_code == 200
                for other in clients
                if cursor
            ]
    sys.stdout.write(json.dumps(answers) + "\n")


def _with_state(app: Application, state: dict[str, object]) -> Application:
    async def asgi(scope: dict[str, object], receive: object, send: object) -> None:
        await app(scope | {"state": dict(state)}, receive, send)

    return asgi


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])))
