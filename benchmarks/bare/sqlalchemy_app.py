"""FastAPI with SQLAlchemy and SQLite, one table and one route on it, all in one file."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import String
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine("sqlite+aiosqlite://")
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """Root of the models."""


class Order(Base):
    """What a customer ordered."""

    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(50))


class OrderRead(BaseModel):
    """An order."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    reference: str


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session that is committed before the answer is sent."""
    async with sessions.begin() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


@app.get("/health")
async def live() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


@app.get("/orders/{order_id}")
async def get_order(order_id: UUID, session: SessionDep) -> OrderRead:
    """Return an order."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    return OrderRead.model_validate(order)
