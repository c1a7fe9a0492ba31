"""A resource that an owner added to a service of release 0.3.4, as the README of that release describes it."""

from pathlib import Path
from typing import Literal

Layout = Literal["feature", "layered"]

FOLDERS = {"repository": "repositories", "router": "routers", "service": "services"}
MODULES = {
    "models": '''"""Notes, as stored."""

from uuid import UUID

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Note(Base):
    """A note."""

    __tablename__ = "notes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(500))
''',
    "schemas": '''"""Schemas of requests and responses."""

from uuid import UUID

from app.orders.schemas import Input, Output


class NoteWrite(Input):
    """A new note."""

    text: str


class NoteRead(Output):
    """A note."""

    id: UUID
    text: str
''',
    "repository": '''"""Queries for notes."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.notes.models import Note


class NoteRepository:
    """Notes in the database."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, note: Note) -> None:
        """Store a new note."""
        self._session.add(note)

    async def get(self, note_id: UUID) -> Note | None:
        """Return a note."""
        return await self._session.get(Note, note_id)
''',
    "service": '''"""The rules of notes."""

from uuid import UUID

from app.core.errors import NotFoundError
from app.core.ids import uuid7
from app.notes.models import Note
from app.notes.repository import NoteRepository


class NoteService:
    """The operations on notes."""

    def __init__(self, notes: NoteRepository) -> None:
        self._notes = notes

    async def create(self, text: str) -> Note:
        """Create a note."""
        note = Note(id=uuid7(), text=text)
        await self._notes.add(note)
        return note

    async def get(self, note_id: UUID) -> Note:
        """Return a note."""
        note = await self._notes.get(note_id)
        if note is None:
            raise NotFoundError(f"There is no note {note_id}.")
        return note
''',
    "dependencies": '''"""How the note service is put together."""

from typing import Annotated

from fastapi import Depends

from app.core.dependencies import SessionDep
from app.notes.repository import NoteRepository
from app.notes.service import NoteService


async def get_note_service(session: SessionDep) -> NoteService:
    """Return the service on the session of the request."""
    return NoteService(NoteRepository(session))


NoteServiceDep = Annotated[NoteService, Depends(get_note_service)]
''',
    "router": '''"""The routes of notes."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter

from app.core.error_handlers import errors
from app.notes.dependencies import NoteServiceDep
from app.notes.schemas import NoteRead, NoteWrite

router = APIRouter(prefix="/notes", tags=["notes"])


@router.post("", status_code=HTTPStatus.CREATED)
async def create_note(data: NoteWrite, notes: NoteServiceDep) -> NoteRead:
    """Create a note."""
    return NoteRead.model_validate(await notes.create(data.text))


@router.get("/{note_id:uuid}", responses=errors(HTTPStatus.NOT_FOUND))
async def get_note(note_id: UUID, notes: NoteServiceDep) -> NoteRead:
    """Return a note."""
    return NoteRead.model_validate(await notes.get(note_id))
''',
}
MIGRATION = '''"""Notes."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Migrate to this revision."""
    op.create_table(
        "notes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
    )


def downgrade() -> None:
    """Migrate back."""
    op.drop_table("notes")
'''
TEST = '''"""Notes, through HTTP."""

from httpx2 import AsyncClient

NOTES = "/api/v1/notes"


async def test_a_note_can_be_read(client: AsyncClient) -> None:
    """A note that was created can be read."""
    created = await client.post(NOTES, json={"text": "Buy milk"})
    assert created.status_code == 201
    assert (await client.get(f"{NOTES}/{created.json()['id']}")).json() == created.json()
'''


def module(name: str, layout: Layout, resource: str = "notes") -> str:
    """Return the dotted name of a module of a resource."""
    return f"app.{resource}.{name}" if layout == "feature" else f"app.{FOLDERS.get(name, name)}.{resource}"


def path(dotted: str) -> str:
    """Return the path of a module."""
    return f"{dotted.replace('.', '/')}.py"


def add_notes(service: Path, layout: Layout) -> None:
    """Add the resource: its files, its router in `api.py` and its model in `tables.py`, in the linter's order."""
    files = {path(module(name, layout)): _moved(text, layout) for name, text in MODULES.items()}
    files |= {"migrations/versions/0002_notes.py": MIGRATION, "tests/test_notes.py": TEST}
    if layout == "feature":
        files["app/notes/__init__.py"] = ""
    for name, text in files.items():
        (service / name).parent.mkdir(exist_ok=True)
        (service / name).write_text(text)
    router, model = module("router", layout), module("models", layout)
    orders, users = module("router", layout, "orders"), module("models", layout, "users")
    _insert(service / "app/api.py", f"from {orders} import", f"from {router} import router as notes_router")
    _insert(service / "app/api.py", "v1.include_router(orders_router)", "v1.include_router(notes_router)")
    before = f"from {module('models', layout, 'orders')} import Order, OrderLine"
    _insert(service / "app/tables.py", before, f"from {model} import Note")
    _insert(service / "app/tables.py", '    "Order",', '    "Note",')
    assert users in (service / "app/tables.py").read_text()


def _moved(text: str, layout: Layout) -> str:
    for resource in ("notes", "orders"):
        for name in MODULES:
            text = text.replace(f"app.{resource}.{name} import", f"{module(name, layout, resource)} import")
    return text


def _insert(file: Path, before: str, line: str) -> None:
    lines = file.read_text().splitlines()
    [place] = [number for number, each in enumerate(lines) if each.startswith(before)]
    file.write_text("\n".join([*lines[:place], line, *lines[place:], ""]))
