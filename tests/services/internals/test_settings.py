"""Settings: read from the right places, and refused when they are unsafe."""

from pathlib import Path

import pytest

from app.commands import check
from app.core import settings as settings_module
from app.core.settings import SettingsError
from app.settings import get_settings

ROOT = Path(__file__).parent.parent
# Not written out: scanners would take it for a real one.
SECRET = "s" * 32


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Return a handle on the environment of a service whose folder and secrets are empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_module, "SECRETS_DIR", tmp_path / "secrets")
    get_settings.cache_clear()
    return monkeypatch


def test_defaults_serve_a_developer(environment: pytest.MonkeyPatch) -> None:
    """Without any configuration the service runs on a developer's machine."""
    assert get_settings().environment == "local"


def test_unsafe_deployment_is_refused(environment: pytest.MonkeyPatch) -> None:
    """Every fault is named at once."""
    environment.setenv("ENVIRONMENT", "production")
    environment.setenv("DEBUG", "true")
    environment.setenv("PORT", "http")
    environment.setenv("ALLOWED_HOSTS", "a.example, https://b.example")
    environment.setenv("CORS_ORIGINS", "https://a.example, *")
    environment.setenv("CORS_CREDENTIALS", "true")
    environment.setenv("DATABASE_URL", "sqlite+aiosqlite:///:memory:")
    with pytest.raises(SettingsError) as refusal:
        get_settings()
    faults = str(refusal.value).splitlines()[1:]
    assert [fault.split()[0] for fault in faults] == [
        "PORT",
        "ALLOWED_HOSTS",
        "DATABASE_URL",
        "SECRET_KEY",
        "DEBUG",
        "CORS_ORIGINS",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", ","),
        ("ALLOWED_HOSTS", "https://shop.example.com"),
        ("ALLOWED_HOSTS", "shop.example.com:8000"),
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("CORS_ORIGINS", "shop.example.com"),
        ("CORS_ORIGINS", "https://shop.example.com/"),
    ],
)
def test_useless_lists_are_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Reject lists with entries that match nothing, such as an origin with a slash at its end."""
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DRAIN_DELAY_SECONDS", "inf"),
        ("READINESS_TIMEOUT_SECONDS", "nan"),
        ("WORKER_THREADS", "0"),
        ("EXCHANGE_RATES_URL", "rates.example.com"),
    ],
)
def test_value_that_cannot_work_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Name a setting at the start if its value can only fail later."""
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        get_settings()


def test_short_secret_is_refused(environment: pytest.MonkeyPatch) -> None:
    """A secret that can be guessed is none."""
    environment.setenv("ENVIRONMENT", "staging")
    environment.setenv("SECRET_KEY", "short")
    with pytest.raises(SettingsError, match="SECRET_KEY is shorter than 32 bytes"):
        get_settings()


def test_safe_deployment_is_accepted(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets come from files, the rest from the environment."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret_key").write_text(SECRET)
    environment.setenv("ENVIRONMENT", "production")
    assert check.main() == 0
    output = capsys.readouterr()
    assert "production" in output.out
    assert "ALLOWED_HOSTS" in output.err


def test_check_command_prints_faults(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The check before a deploy fails, and says why."""
    environment.setenv("PORT", "99999")
    assert check.main() == 1
    assert "PORT" in capsys.readouterr().err
