"""Tests of the test harness, because a check must be able to fail."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from quickset.errors import UsageError
from tests.questions import read_questions
from tests.rendering import render
from tests.services import servers
from tests.services.inspection import inspect
from tests.services.matrix import build_rows, missing_answers, missing_pairs
from tests.services.servers import DEFAULTS, KINDS, VARIABLES, Kind, MissingServerError, database_server, shared_server
from tests.services.trial import Trial

FAULTY = {
    "tag.py": ("x = '{{ package_name }}'\n", "left-over {{"),
    "statement.md": ("{% endif\n", "left-over {%"),
    "comment.toml": ("# {# why\n", "left-over {#"),
    "gap.toml": ("a = 1\n\n\nb = 2\n", "blank lines"),
    "gap.py": ("a = 1\n\n\n\nb = 2\n", "blank lines"),
    "start.yaml": ("\na: 1\n", "starts with a blank line"),
    "end.yaml": ("a: 1\n\n", "ends with a blank line"),
    "cut.yaml": ("a: 1", "does not end with a newline"),
    "space.md": ("a \n", "white space"),
    "return.md": ("a\r\n", "carriage return"),
    "empty.py": ("", "is empty"),
    "none.yaml": ("a: None\n", "says None"),
    "bool.env": ("DEBUG=False\n", "says False"),
    "undefined.py": ("x = 'Undefined'\n", "says Undefined"),
    "broken.toml": ("a =\n", "does not parse"),
    "broken.yaml": ("a: [1\n", "does not parse"),
    "broken.json": ("{]\n", "does not parse"),
    "a:b.md": ("x\n", "no file name on Windows"),
    "aux.md": ("x\n", "no file name on Windows"),
    "dot./x.md": ("x\n", "no file name on Windows"),
    "x/" * 60 + "y.md": ("x\n", "longer than"),
}


@pytest.mark.parametrize("path", FAULTY)
def test_faulty_text_is_found(path: str) -> None:
    """Each fault is reported with its file."""
    text, words = FAULTY[path]
    faults = inspect({path: text})
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}: ")
    assert words in faults[0]


def test_names_that_differ_by_case_are_found() -> None:
    """Two names that differ only by case are one file on Windows and macOS."""
    assert len(inspect({"Readme.md": "x\n", "README.md": "x\n"})) == 2


def test_new_choice_joins_the_matrix() -> None:
    """A new choice is combined with every other answer, and a matrix without it is reported."""
    before = read_questions()
    after = [
        dataclasses.replace(question, choices=(*question.choices, "oracle"))
        if question.name == "database"
        else question
        for question in before
    ]
    assert missing_answers(after, build_rows(before)) == ["database=oracle"]
    assert missing_answers(after, build_rows(after)) == []
    assert missing_pairs(after, build_rows(after)) == []


def test_rows_are_the_same_every_time() -> None:
    """Workers that build the rows separately get the same rows."""
    assert build_rows(read_questions()) == build_rows(read_questions())


def test_misspelt_answer_is_refused(template: Path, tmp_path: Path) -> None:
    """A misspelled answer fails, although Copier would render the default."""
    with pytest.raises(UsageError, match="no question 'databse'"):
        render(template, tmp_path / "service", {"databse": "mysql"})


def test_phases_fail_one_by_one(tmp_path: Path) -> None:
    """A phase that fails is recorded with its output, and the next phase runs."""
    trial = Trial(tmp_path)
    with trial.phase("first"):
        trial.run("sh", "-c", "echo the reason; exit 3")
    with trial.phase("second"):
        trial.run("true")
    assert len(trial.faults) == 1
    assert "first" in trial.faults[0]
    assert "the reason" in trial.faults[0]
    assert trial.seconds.keys() == {"first", "second"}


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_private_server_survives_faults(kind: Kind, missing_server: Callable[[str], None]) -> None:
    """A private server keeps its data when it is stopped or killed, and leaves no files when it is closed."""
    try:
        with database_server(kind) as server:
            name = server.create_database()
            for fault in (server.stop, server.kill):
                fault()
                assert servers.why_silent(server)
                server.start()
                server.execute("SELECT 1", name)
            folder = server.folder
        assert not folder.exists()
        assert servers.why_silent(server)
    except MissingServerError as error:
        missing_server(str(error))


def at_a_free_port(kind: Kind) -> str:
    """Return an address without a server."""
    url = urlsplit(DEFAULTS[kind])
    return url._replace(netloc=f"{url.username}@127.0.0.1:{servers.free_port()}").geturl()


@pytest.mark.parametrize("kind", KINDS)
def test_silent_server_is_reported(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured server that does not respond is not replaced by another one."""
    monkeypatch.setenv(VARIABLES[kind], at_a_free_port(kind))
    with pytest.raises(MissingServerError, match=VARIABLES[kind]), shared_server(kind):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_missing_server_is_explained(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no server responds and none can be started, the message names what to install or set."""
    monkeypatch.delenv(VARIABLES[kind], raising=False)
    monkeypatch.setitem(DEFAULTS, kind, at_a_free_port(kind))
    monkeypatch.setattr(servers, "PROGRAM_FOLDERS", ())
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(MissingServerError) as missing, shared_server(kind):
        pass
    for words in ("apt install", VARIABLES[kind], "none of these programs"):
        assert words in str(missing.value)


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_server_is_started_where_none_answers(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, missing_server: Callable[[str], None]
) -> None:
    """If only the programs are installed, a server is started for the time of the tests."""
    monkeypatch.delenv(VARIABLES[kind], raising=False)
    monkeypatch.setitem(DEFAULTS, kind, at_a_free_port(kind))
    try:
        with shared_server(kind) as server:
            assert server.origin.startswith("started")
            with server.database() as name:
                server.execute("SELECT 1", name)
    except MissingServerError as error:
        missing_server(str(error))
