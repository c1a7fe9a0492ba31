"""SQLite only: its files, its locks and its URLs."""

from pathlib import Path

import pytest
from anyio import to_thread
from pydantic import SecretStr
from sqlalchemy import text

from app.commands import migrate
from app.core.errors import UnavailableError
from app.core.settings import SettingsError
from app.settings import Settings, get_settings

from .test_create_admin import EMAIL, PASSWORD, Run, run
from .test_database import opened

__all__ = ["run"]


async def test_failed_migration_is_told_in_one_line(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A migration that cannot reach its database fails, and says why."""
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database " * 100)
    lost = SecretStr(f"sqlite+aiosqlite:///{path}")
    unreachable = settings.model_copy(update={"database_url": lost})
    monkeypatch.setattr(migrate, "get_settings", lambda: unreachable)
    with pytest.raises(SystemExit, match="1"):
        await to_thread.run_sync(migrate.main)
    assert "migration_failed" in capsys.readouterr().out


async def test_missing_file_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    """A database file that is gone or replaced is neither recreated nor written to."""
    path = tmp_path / "moving.db"
    url = SecretStr(f"sqlite+aiosqlite:///{path}")
    async with opened(settings.model_copy(update={"database_url": url})) as database:
        with pytest.raises(UnavailableError):
            await database.check()
        assert not path.exists()
        path.touch()
        await database.check()
        path.rename(tmp_path / "moved.db")
        with pytest.raises(UnavailableError):
            await database.check()
        path.touch()
        await database.check()


@pytest.mark.parametrize("path", ["", "/", "/:memory:"])
def test_database_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A database in memory cannot be migrated, and is lost at a restart."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite://{path}")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="DATABASE_URL must name a file"):
        get_settings()


async def test_locked_database_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    """A writer that waits too long for another one gets a 503 response."""
    path = tmp_path / "locked.db"
    path.touch()
    url = SecretStr(f"sqlite+aiosqlite:///{path}")
    async with (
        opened(settings.model_copy(update={"database_url": url})) as database,
        database.session(),
    ):
        with pytest.raises(UnavailableError):
            async with database.session(write=False) as session:
                await session.execute(text("PRAGMA busy_timeout = 1"))
                await session.execute(text("CREATE TABLE too_late (id INTEGER)"))


async def test_lost_database_is_told(run: Run, settings: Settings, tmp_path: Path) -> None:
    """Without its database the command fails, and says why."""
    url = f"sqlite+aiosqlite:///{tmp_path}/nowhere/test.db"
    lost = settings.model_copy(update={"database_url": SecretStr(url)})
    with pytest.raises(SystemExit, match=r"missing\.\nCheck the database"):
        await to_thread.run_sync(run, PASSWORD, EMAIL, lost)


async def test_missing_migration_is_told(run: Run, settings: Settings, tmp_path: Path) -> None:
    """Without the tables the command says what to run."""
    (tmp_path / "empty.db").touch()
    url = SecretStr(f"sqlite+aiosqlite:///{tmp_path}/empty.db")
    empty = settings.model_copy(update={"database_url": url})
    with pytest.raises(SystemExit, match=r"no such table: users\nCheck the database"):
        await to_thread.run_sync(run, PASSWORD, EMAIL, empty)
