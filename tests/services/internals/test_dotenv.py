"""The command that writes .env."""

from pathlib import Path

import pytest

from app.commands import dotenv as command
from app.commands.dotenv import write_dotenv


def test_writes_fresh_secrets_once(tmp_path: Path) -> None:
    """Placeholders become secrets that only the owner can read. An existing file stays."""
    (tmp_path / ".env.example").write_text("# A key.\nSECRET_KEY=change-me\nPORT=8000\n")
    assert write_dotenv(tmp_path)
    dotenv = tmp_path / ".env"
    text = dotenv.read_text()
    assert "change-me" not in text
    assert "PORT=8000" in text
    assert dotenv.stat().st_mode & 0o777 == 0o600
    assert not write_dotenv(tmp_path)
    assert dotenv.read_text() == text


def test_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reports whether it wrote the file."""
    monkeypatch.setattr(command, "write_dotenv", lambda _: True)
    command.main()
    assert capsys.readouterr().out == "Wrote .env.\n"
