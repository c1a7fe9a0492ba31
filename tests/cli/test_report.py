import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from quickset.commands.new import Created, Request, new
from quickset.report.created import PARTS, next_commands, service_tree, show_created
from quickset.templates.source import Source, here

VARIANTS: list[dict[str, Any]] = [
    {},
    {"layout": "layered", "package_name": "orders_api"},
    {"database": "postgresql", "template_updates": "gitlab"},
    {"database": "none", "example": False, "docker": False},
    {"cache": "memory", "http_client": True, "streaming": True, "websockets": True},
]


def made(path: Path, **answers: Any) -> Created:
    return Created(
        path=path,
        template="v1.0.0",
        released=True,
        answers={"package_name": "app", **answers},
        files=(),
        committed=True,
        locked=True,
        notes=(),
    )


@pytest.fixture
def services(work: Path) -> list[Created]:
    """Services of this repository's template, as dry runs."""
    requests = [Request(path=work / str(n), data=data, ref="HEAD", dry_run=True) for n, data in enumerate(VARIANTS)]
    return [new(request, template_source=Source(here().root)) for request in requests]


def test_every_part_is_described(services: list[Created]) -> None:
    """Every file and folder at the top level of a service has a description, and every description has a file."""
    seen = set()
    for service in services:
        package = service.answers["package_name"]
        for file in service.files:
            parts = [part if part != package else "<package>" for part in file.split("/")]
            assert parts[0] in PARTS, f"{file} needs an entry in PARTS"
            seen |= {parts[0], "/".join(parts[:2])}
    assert set(PARTS) - seen <= {"uv.lock"}


@pytest.mark.parametrize("picture", sorted((here().root / "docs").glob("*.svg")), ids=lambda path: path.name)
def test_pictures_are_short(picture: Path) -> None:
    """An example output in the README fits on a page."""
    box = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', picture.read_text(encoding="utf-8"))
    assert box
    assert float(box[1]) < 1300


def test_tree_fits(services: list[Created]) -> None:
    """In a terminal of 80 columns no line wraps."""
    for service in services:
        console = Console(width=80, record=True, file=None, quiet=False)
        with console.capture() as captured:
            console.print(service_tree(service))
        assert len(captured.get().splitlines()) == 1 + sum(1 for _ in rows(service))


def rows(service: Created) -> set[str]:
    package = str(service.answers["package_name"])
    top = {file.split("/")[0] for file in service.files}
    inner = {"/".join(file.split("/")[:2]) for file in service.files if file.startswith(f"{package}/")}
    return top | {part for part in inner if part.replace(package, "<package>", 1) in PARTS}


@pytest.mark.parametrize("name", ["two words", "it's", "$HOME", "-dash", "a/b", "größe"])
def test_way_into_the_folder(work: Path, name: str) -> None:
    """The first command works when pasted, for any folder name."""
    (work / name).mkdir(parents=True)

    command = next_commands(made(work / name))[0]

    shell = subprocess.run(["/bin/sh", "-c", f"{command} && pwd"], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{work / name}\n"


def test_next_commands(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commands match the answers: migrate a database, start a server, install uv if it is missing."""
    uv = tmp_path / "uv"
    uv.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = "uv run python -m app"

    assert next_commands(made(work / "a", database="none"))[1:] == ["uv run pytest", run]
    assert next_commands(made(work / "a", database="sqlite"))[2] == f"{run}.migrate && {run}"
    moved = replace(made(work / "a", database="sqlite"), files=("app/commands/migrate.py",))
    assert next_commands(moved)[2] == f"{run} migrate && {run}"
    assert next_commands(made(work / "a", database="mysql", docker=True))[2].startswith("docker compose up --detach")
    assert next_commands(made(work, database="sqlite")) == ["uv run pytest", f"{run}.migrate", run]
    assert next_commands(made(tmp_path / "b"))[0] == f"cd {tmp_path / 'b'}"
    uv.unlink()
    assert next_commands(made(work / "a"))[1] == "python -m pip install uv && uv run pytest"


def test_next_commands_of_another_template(work: Path) -> None:
    """Only available commands are proposed: all for a fork, and only `cd` for other templates."""
    fork = replace(made(work / "a", database="sqlite"), foreign=True)
    files = ("app/__main__.py", "app/migrate.py", "pyproject.toml", "tests/conftest.py")

    assert next_commands(replace(fork, files=files)) == next_commands(replace(fork, foreign=False))
    for missing in files:
        assert next_commands(replace(fork, files=tuple({*files} - {missing}))) == ["cd a"]


def test_tree_of_another_template(work: Path) -> None:
    """Files of other templates are described only if their name defines their purpose."""
    files = (".copier-answers.yml", "README.md", "app/core/a.py", "scripts/a.sh", "uv.lock")
    console = Console(width=100)
    with console.capture() as captured:
        console.print(service_tree(replace(made(work / "a"), files=files, foreign=True, locked=True)))

    lines = [line.strip(" ├└─│") for line in captured.get().splitlines()]
    assert [line.split("  ")[0] for line in lines if "  " in line] == [".copier-answers.yml", "uv.lock"]
    assert lines[1:3] == ["app/", "scripts/"]


@pytest.mark.parametrize(
    ("content", "is_described"),
    [
        ("version = 1\nrequires-python = '>=3.12'\n", True),
        ("version = '2'\n[[lock]]\n", False),
        ("not TOML", False),
        (b"\xff", False),
        (None, False),
    ],
    ids=["of uv", "of another tool", "broken", "bytes", "missing"],
)
def test_lock_file_of_another_template(work: Path, content: str | bytes | None, *, is_described: bool) -> None:
    """A `uv.lock` of the template is described only if uv wrote it."""
    service = work / "a"
    service.mkdir()
    if content is not None:
        (service / "uv.lock").write_bytes(content.encode() if isinstance(content, str) else content)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(service_tree(replace(made(service), files=("uv.lock",), foreign=True, locked=False)))

    assert (PARTS["uv.lock"] in captured.get()) == is_described


def test_what_a_server_needs(work: Path) -> None:
    """If the next commands need a server, the output names it."""
    for docker, words in {True: "need Docker", False: "TEST_DATABASE_URL"}.items():
        console = Console(width=200)
        with console.capture() as captured:
            show_created(made(work / "a", database="postgresql", docker=docker), dry_run=False, out=console)
        assert "PostgreSQL" in captured.get()
        assert words in captured.get()
