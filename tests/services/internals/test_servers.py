"""Databases on a server: lost ones, and the password from a file."""

from pathlib import Path

import pytest
from anyio import to_thread
from pydantic import SecretStr
from sqlalchemy import make_url

from app.commands import migrate
from app.core import settings as settings_module
from app.core.errors import UnavailableError
from app.core.settings import SettingsError
from app.settings import Settings, get_settings

from .test_create_admin import EMAIL, PASSWORD, Run, run
from .test_database import opened, stored

__all__ = ["run"]

SECRET = "s" * 32


async def test_failed_migration_is_told_in_one_line(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A migration that cannot reach its database fails, and says why."""
    url = make_url(settings.database_url.get_secret_value()).set(port=1)
    lost = SecretStr(url.render_as_string(hide_password=False))
    unreachable = settings.model_copy(update={"database_url": lost})
    monkeypatch.setattr(migrate, "get_settings", lambda: unreachable)
    with pytest.raises(SystemExit, match="1"):
        await to_thread.run_sync(migrate.main)
    assert "migration_failed" in capsys.readouterr().out


async def test_lost_database_is_unavailable(settings: Settings) -> None:
    """A server that refuses the connection is not the client's fault."""
    url = make_url(settings.database_url.get_secret_value()).set(port=1)
    lost = SecretStr(url.render_as_string(hide_password=False))
    async with opened(settings.model_copy(update={"database_url": lost})) as database:
        with pytest.raises(UnavailableError):
            await stored(database)


async def test_lost_database_is_told(run: Run, settings: Settings, tmp_path: Path) -> None:
    """Without its database the command fails, and says why."""
    there = make_url(settings.database_url.get_secret_value())
    url = there.set(port=1).render_as_string(hide_password=False)
    lost = settings.model_copy(update={"database_url": SecretStr(url)})
    with pytest.raises(SystemExit, match=r"answer.*\nCheck the database"):
        await to_thread.run_sync(run, PASSWORD, EMAIL, lost)


def test_missing_password_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A deployed service has a database of its own, with a password of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("DATABASE_PASSWORD", "change-me")
    get_settings.cache_clear()
    with pytest.raises(SettingsError) as refusal:
        get_settings()
    faults = [line.split()[0] for line in str(refusal.value).splitlines()[1:]]
    assert faults == ["DATABASE_URL", "DATABASE_PASSWORD"]


def test_password_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> None:
    """Any character may be in a password that comes from a file."""
    (tmp_path / "database_password").write_text("p@ss/word")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_module, "SECRETS_DIR", tmp_path)
    driver = make_url(settings.database_url.get_secret_value()).drivername
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("DATABASE_URL", f"{driver}://app@database/app")
    get_settings.cache_clear()
    assert get_settings().database_location.password == "p@ss/word"
