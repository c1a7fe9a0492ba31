"""The application as a whole."""

import json
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from starlette.types import Message

from app import __main__ as command_line
from app.commands import serve
from app.core.ids import uuid7
from app.core.observability.logging import configure_logging
from app.core.settings import Environment
from app.core.startup import Startup
from app.main import create_app
from app.settings import Settings, get_settings
from tests.conftest import connect

SHAPE = "#/components/schemas/ErrorResponse"


async def test_two_applications_in_one_process(settings: Settings) -> None:
    """Nothing is shared by applications with different settings."""
    names = ["a.example", "b.example"]
    apps = [create_app(settings.model_copy(update={"allowed_hosts": [name]})) for name in names]
    async with connect(apps[0]) as first, connect(apps[1]) as second:
        for client, own in zip([first, second], names, strict=True):
            for name in names:
                response = await client.get("/docs", headers={"Host": name})
                assert (response.status_code == 200) is (name == own)


def fail_to_open(_settings: Settings, _startup: Startup) -> NoReturn:
    """Fail, as a resource that is not there."""
    raise ConnectionError


async def test_failed_start_is_logged_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that cannot start says why, in one line."""
    monkeypatch.setattr("app.lifespan.RESOURCES", [fail_to_open])
    app = create_app(settings)
    with pytest.raises(ConnectionError):
        async with app.router.lifespan_context(app):
            pass
    [line] = capsys.readouterr().out.splitlines()
    assert "start_failed" in line


@pytest.mark.parametrize("debug", [False, True])
async def test_server_gets_the_traceback_in_debug_mode_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    """The server logs what it gets, and the failure is logged already."""
    monkeypatch.setattr("app.lifespan.RESOURCES", [fail_to_open])
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    app = create_app(settings.model_copy(update={"debug": debug}))
    with pytest.raises(ConnectionError):
        await app({"type": "lifespan", "state": {}}, receive, send)
    [failed] = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert bool(failed["message"]) is debug


def test_logs_are_json_with_the_request_id(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A deployed service writes a JSON object a line, tracebacks included."""
    configure_logging(settings.model_copy(update={"log_format": "json"}))
    try:
        raise ValueError("wrong")
    except ValueError:
        structlog.stdlib.get_logger("here").exception("failed", value=object())
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "failed"
    assert "ValueError: wrong" in line


def test_ids_sort_by_time() -> None:
    """A later id is a greater id."""
    ids = [uuid7() for _ in range(100)]
    assert ids == sorted(ids)
    assert ids[0].version == 7


class TestEntryPoint:
    """`python -m app`."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        get_settings.cache_clear()

    def test_refuses_invalid_settings(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Invalid settings end the start with a message."""
        monkeypatch.setenv("ENVIRONMENT", Environment.PRODUCTION)
        with pytest.raises(SystemExit, match="3"):
            serve.main()
        assert "SECRET_KEY" in capsys.readouterr().err

    def test_runs_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A command ends with its own exit code, and takes no arguments that it does not know."""
        with pytest.raises(SystemExit, match="0"):
            command_line.main(["check"])
        assert "The settings are valid" in capsys.readouterr().out
        with pytest.raises(SystemExit, match="2"):
            command_line.main(["check", "--all"])
