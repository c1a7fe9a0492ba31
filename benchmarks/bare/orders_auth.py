"""FastAPI with SQLAlchemy and PyJWT: the one read, for the signed-in owner of the order.

Models, schemas, pool size and token claims are those of the service, so that both do the same work.
"""

import hmac
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

from app.orders.models import Order
from app.orders.schemas import OrderRead
from app.settings import get_settings
from app.users.models import User

settings = get_settings()
# As the service derives it, whose tokens this takes.
KEY = hmac.digest(settings.secret_key.get_secret_value().encode(), b"access-token", "sha256")
engine = create_async_engine(
    settings.database_location,
    pool_pre_ping=True,
    pool_size=settings.database_pool_size,
    max_overflow=settings.database_max_overflow,
    pool_timeout=settings.database_pool_timeout_seconds,
    pool_recycle=settings.database_pool_recycle_seconds,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
bearer = OAuth2PasswordBearer("/api/v1/auth/token")
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session that is committed before the answer is sent."""
    async with sessions.begin() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_current_user(token: Annotated[str, Depends(bearer)], session: SessionDep) -> User:
    """Return the user whose token it is."""
    refusal = HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    try:
        claims = jwt.decode(
            token, KEY, algorithms=["HS256"], audience=settings.token_audience, issuer=settings.token_issuer
        )
    except jwt.InvalidTokenError:
        raise refusal from None
    user = await session.get(User, UUID(claims["sub"]))
    if user is None or user.disabled or user.token_version != claims["ver"]:
        raise refusal
    return user


@app.get("/health")
async def live() -> str:
    """Answer, so that the start is seen."""
    return "ok"


@app.get("/api/v1/orders/{order_id}")
async def get_order(order_id: UUID, user: Annotated[User, Depends(get_current_user)], session: SessionDep) -> OrderRead:
    """Return an order of the user with its lines."""
    wanted = select(Order).where(Order.id == order_id, Order.owner_id == user.id)
    order = await session.scalar(wanted.options(selectinload(Order.lines)))
    if order is None:
        raise HTTPException(404)
    return OrderRead.model_validate(order)
