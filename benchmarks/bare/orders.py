"""FastAPI with SQLAlchemy and the one read, as far as it goes without everything that a service adds.

Models, schemas and the size of the pool are the service's own, so that both do the same work.
"""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

from app.orders.models import Order
from app.orders.schemas import OrderRead
from app.settings import get_settings

settings = get_settings()
engine = create_async_engine(
    settings.database_location,
    pool_pre_ping=True,
    pool_size=settings.database_pool_size,
    max_overflow=settings.database_max_overflow,
    pool_timeout=settings.database_pool_timeout_seconds,
    pool_recycle=settings.database_pool_recycle_seconds,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session that is committed before the answer is sent."""
    async with sessions.begin() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


@app.get("/health")
async def live() -> str:
    """Answer, so that the start is seen."""
    return "ok"


@app.get("/api/v1/orders/{order_id}")
async def get_order(order_id: UUID, session: SessionDep) -> OrderRead:
    """Return an order with its lines."""
    order = await session.get(Order, order_id, options=[selectinload(Order.lines)])
    if order is None:
        raise HTTPException(404)
    return OrderRead.model_validate(order)
