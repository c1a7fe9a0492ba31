"""Pages and cursors."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from httpx2 import AsyncClient

from app.core.http.pagination import MAX_PAGE, CursorDep, CursorPage, Page, PaginationDep
from app.main import create_app
from app.settings import Settings
from tests.conftest import connect

NUMBERS = list(range(1, 8))


@pytest.fixture(scope="module")
async def lists(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Return a client of an application with a short list."""
    app = create_app(settings)

    @app.get("/pages")
    async def pages(pagination: PaginationDep) -> Page[int]:
        offset, size = pagination.offset, pagination.size
        return Page.of(NUMBERS[offset : offset + size], len(NUMBERS), pagination)

    @app.get("/endless")
    async def endless(pagination: PaginationDep) -> Page[int]:
        return Page.of([0], 10**9, pagination)

    @app.get("/cursor")
    async def by_cursor(cursor: CursorDep) -> CursorPage[int]:
        start = cursor.after.int if cursor.after else 0
        items = NUMBERS[start : start + cursor.limit]
        more = items[-1] < len(NUMBERS)
        return CursorPage.of(items, UUID(int=items[-1]) if more else None)

    async with connect(app) as client:
        yield client


async def test_pages_link_to_each_other(lists: AsyncClient) -> None:
    """Each page knows its neighbours, and keeps the rest of the query."""
    page = (await lists.get("/pages?color=red&page=2&size=3")).json()
    assert page["items"] == [4, 5, 6]
    assert (page["total"], page["page"], page["size"]) == (7, 2, 3)
    assert page["links"]["prev"] == "/pages?color=red&page=1&size=3"
    last = (await lists.get(page["links"]["next"])).json()
    assert last["items"] == [7]
    assert last["links"]["next"] is None
    beyond = (await lists.get("/pages?page=9&size=3")).json()
    assert beyond["items"] == []
    assert beyond["links"]["prev"] == beyond["links"]["last"]


@pytest.mark.parametrize("query", ["page=0", "size=0", "size=101", f"page={10**30}", "page=x"])
async def test_absurd_pages_are_refused(lists: AsyncClient, query: str) -> None:
    """No number brings the database down."""
    assert (await lists.get(f"/pages?{query}")).status_code == 422


async def test_last_page_is_one_that_is_served(lists: AsyncClient) -> None:
    """The links of a list that is longer than all its pages end at the last page that a request can ask for."""
    page = (await lists.get(f"/endless?page={MAX_PAGE}&size=1")).json()
    assert page["links"]["next"] is None
    assert (await lists.get(page["links"]["last"])).json()["page"] == MAX_PAGE


async def test_cursor_walks_the_whole_list(lists: AsyncClient) -> None:
    """Following the cursor gives every item once."""
    items: list[int] = []
    params = {"limit": "3"}
    while True:
        page = (await lists.get("/cursor", params=params)).json()
        items += page["items"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert items == NUMBERS


@pytest.mark.parametrize("cursor", ["x", "AAAA", "A" * 44, "A" * 22, f"{'A' * 21}B==", "ä", ""])
async def test_invalid_cursor_is_refused(lists: AsyncClient, cursor: str) -> None:
    """Anything but an id of 16 bytes is an error of the client."""
    response = await lists.get("/cursor", params={"cursor": cursor})
    assert response.status_code == 422
