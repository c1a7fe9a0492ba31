"""What models of any resource are made of."""

from tests.services.behaviour.variants import once_with_file
from tests.services.running import PACKAGE, Project, Store

SCRIPT = """
import asyncio, datetime, enum
from sqlalchemy import String, cast, select
from sqlalchemy.orm import Mapped, mapped_column
from PACKAGE.core.db.database import Base, open_database
from PACKAGE.core.db.models import Record, text_enum
from PACKAGE.core.settings import get_settings

class Kind(enum.StrEnum):
    LARGE = "large"

class Thing(Record, Base):
    __tablename__ = "things"
    kind: Mapped[Kind] = mapped_column(text_enum(Kind))
    size: Mapped[int]

async def main():
    async with open_database(get_settings()) as database:
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
    """A new record has one time, a change sets the second, and a choice is stored by its value."""
    finished = project.run("-c", SCRIPT, settings={"DATABASE_URL": store.url})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == ["7 True UTC", "True", "large"]
