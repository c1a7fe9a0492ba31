"""The base classes and types of models."""

from tests.services.behaviour.variants import once_with_file, with_amounts
from tests.services.running import PACKAGE, Project, Store

SCRIPT = """
import asyncio, datetime, enum
from sqlalchemy import String, cast, select
from sqlalchemy.orm import Mapped, mapped_column
from PACKAGE.core.db.database import Base, open_database
from PACKAGE.core.db.models import Record, text_enum
from PACKAGE.core.startup import Startup
from PACKAGE.settings import get_settings

class Kind(enum.StrEnum):
    LARGE = "large"

class Thing(Record, Base):
    __tablename__ = "things"
    kind: Mapped[Kind] = mapped_column(text_enum(Kind))
    size: Mapped[int]

async def main():
    async with open_database(get_settings(), Startup()) as state:
        database = state["database"]
        async with database.engine.begin() as connection:
            await connection.run_sync(Thing.__table__.create)
        async with database.session() as session:
            thing = Thing(kind=Kind.LARGE, size=1)
            session.add(thing)
            await session.flush()
            print(thing.id.version, thing.created_at == thing.updated_at, thing.created_at.tzinfo)
            thing.size = 2
            await session.flush()
            print(thing.updated_at > thing.created_at)
            print(await session.scalar(select(cast(Thing.kind, String))))

asyncio.run(main())
""".replace("PACKAGE", PACKAGE)


@once_with_file
def test_records_get_an_id_and_times_when_they_are_flushed(project: Project, store: Store) -> None:
    """A new record has one time, a change sets the second one, and an enum is stored by its value."""
    finished = project.run("-c", SCRIPT, settings={"DATABASE_URL": store.url})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == ["7 True UTC", "True", "large"]


VALUES = """
import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from sqlalchemy import func, select, type_coerce
from sqlalchemy.orm import Mapped, mapped_column
from PACKAGE.core.db.columns import Amount, Timestamp, exact_text
from PACKAGE.core.db.database import Base, open_database
from PACKAGE.core.startup import Startup
from PACKAGE.settings import get_settings

class Thing(Base):
    __tablename__ = "things"
    id: Mapped[str] = mapped_column(exact_text(5), primary_key=True)
    number: Mapped[int] = mapped_column(default=3)
    price: Mapped[Amount | None]
    time: Mapped[Timestamp | None]

TIME = datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5)))

async def main():
    async with open_database(get_settings(), Startup()) as state:
        database = state["database"]
        async with database.engine.begin() as connection:
            await connection.run_sync(Thing.__table__.create)
        async with database.session() as session:
            session.add_all([
                Thing(id="a", price=Decimal("9.99"), time=TIME), Thing(id="A"),
                Thing(id="\u00e4", price=Decimal("9999999.99"), time=TIME + timedelta(days=1)),
            ])
        async with database.session() as session:
            found = await session.scalar(select(Thing).where(Thing.id == "a"))
            print(repr(found.price), found.time == TIME, found.time.tzinfo is UTC or found.time.utcoffset())
            found = await session.get(Thing, "A")
            print(found.price, found.time)
            print(await session.scalar(select(Thing.id).where(Thing.time > TIME)) == "\u00e4")
            total = func.sum(Thing.number * Thing.price)
            print(repr(await session.scalar(select(type_coerce(total, Thing.price.type)))))
            print(await session.scalar(select(Thing.id).where(Thing.price == Decimal("9.990"))))

asyncio.run(main())
""".replace("PACKAGE", PACKAGE)


@with_amounts
def test_columns_keep_what_they_are_given(project: Project, own_store: Store) -> None:
    """On every database amounts are exact, times keep microseconds, and text keeps case and accents."""
    finished = project.run("-c", VALUES, settings={"DATABASE_URL": own_store.url})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [
        "Decimal('9.99') True True",
        "None None",
        "True",
        "Decimal('30000029.94')",
        "a",
    ]
