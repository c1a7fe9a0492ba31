"""Every choice of this project's template, added to an existing service and removed again."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from quickset import git
from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.errors import UsageError
from quickset.report.updated import show_result
from quickset.templates.answers_file import read_answers
from quickset.templates.questions import is_component, load_questions
from quickset.templates.source import Source
from quickset.updating.recover import resume
from tests.questions import REPOSITORY
from tests.updates.test_releases import files

pytestmark = pytest.mark.ci

VERSIONS = "migrations/versions"


def as_option(value: Any) -> str:
    """Return a value in the form of the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


QUESTIONS = load_questions((REPOSITORY / "copier.yml").read_text())
# A new question is included without a change here.
CHOICES = {
    f"{question.name}={as_option(value)}": (question.name, value)
    for question in QUESTIONS.values()
    if is_component(question)
    for value in ((True, False) if question.type == "bool" else question.choices)
    if value != question.default
}
# Parts to turn off before a choice can be made. Their questions are not asked afterwards.
WITHOUT: Mapping[str, Mapping[str, Any]] = {"database=none": {"auth": "none"}}

# Edits of owners in files where components have lines: by file, a text and its replacement.
EDITS: Mapping[str, tuple[tuple[str, str], ...]] = {
    ".env.example": (("HOST=127.0.0.1\n", "# The server of payments.\nPAYMENTS_URL=\n\nHOST=127.0.0.1\n"),),
    "README.md": (
        ("# Shop\n", "# Shop\n\nOurs; ask Jane.\n"),
        ("## Test\n", "## On call\n\nRing twice.\n\n## Test\n"),
    ),
    "app/core/settings.py": (
        ("    worker_threads: int", '    payments_url: str = ""\n    worker_threads: int'),
        (
            "        faults = []\n        secret",
            """        faults = []
        if not self.payments_url:
            faults.append("PAYMENTS_URL is missing")
        secret""",
        ),
    ),
    "app/lifespan.py": (
        ("from fastapi import FastAPI\n", "import payments\nfrom fastapi import FastAPI\n"),
        ("    return open_resources(\n", "    payments.connect(settings)\n    return open_resources(\n"),
    ),
    "app/main.py": (
        ("from fastapi import FastAPI\n", "from fastapi import FastAPI\nfrom fastapi.staticfiles import StaticFiles\n"),
        ("    return app\n", '    app.mount("/assets", StaticFiles(directory="assets"))\n    return app\n'),
    ),
    "pyproject.toml": (
        ('description = "A FastAPI service."\n', 'description = "Our shop."\n'),
        ('  "structlog>=', '  "stripe>=13,<14",\n  "structlog>='),
        ('  "ruff>=', '  "rich>=15,<16",\n  "ruff>='),
    ),
    "tests/conftest.py": (
        (
            '@pytest.fixture(scope="session", autouse=True)\ndef anyio_backend(',
            """@pytest.fixture
def payments() -> str:
    return "paid"


@pytest.fixture(scope="session", autouse=True)
def anyio_backend(""",
        ),
    ),
}


@pytest.fixture(scope="module")
def source() -> Source:
    """This project's template at its last commit."""
    return Source(REPOSITORY)


def make(source: Source, folder: Path, **data: Any) -> Path:
    """Create a service from the committed template."""
    new(Request(path=folder, ref="HEAD", data={"project_name": "Shop", **data}, lock=False), template_source=source)
    return folder


def commit(service: Path) -> None:
    """Commit everything."""
    git.run("add", "--all", cwd=service)
    git.run("commit", "--quiet", "--allow-empty", "--message", "Ours", cwd=service)


def edit(service: Path) -> Path:
    """Edit a service as its owners do."""
    for name, pairs in EDITS.items():
        text = (service / name).read_text()
        for old, ours in pairs:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, ours)
        (service / name).write_text(text)
    commit(service)
    return service


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("layout", ["feature", pytest.param("layered", marks=pytest.mark.full)])
def test_there_and_back(source: Source, tmp_path: Path, layout: str, choice: str) -> None:
    """A later choice gives the same result as an early one, with every edit. Its removal restores the tree."""
    name, value = CHOICES[choice]
    service = edit(make(source, tmp_path / "service", layout=layout, **WITHOUT.get(choice, {})))
    before = files(service)

    there = components.add(service, [choice], lock=False, template_source=source)

    assert there.conflicts == ()
    assert files(service) == files(edit(make(source, tmp_path / "fresh", layout=layout, **{name: value})))
    commit(service)
    back = components.add(service, [f"{name}={as_option(QUESTIONS[name].default)}"], lock=False, template_source=source)
    assert back.conflicts == ()
    assert files(service) == before


OWN_ROUTE = """

@router.get("/mine/count")
async def count_mine(orders: OrderServiceDep) -> int:
    return (await orders.list_page(OrderFilter(), offset=0, limit=1))[1]
"""
OWN_SHAPE = """

class Parcel(Output):
    weight: int
"""
OWN_RULE = """

def is_heavy(parcel: int) -> bool:
    return parcel > 30
"""


@pytest.mark.parametrize("choice", sorted(CHOICES.keys() - {"example=false", "database=none"}))
def test_there_and_back_beside_own_lines(source: Source, tmp_path: Path, choice: str) -> None:
    """Owners' lines at the end of the example's files cause no conflict."""
    service = make(source, tmp_path / "service")
    for name, lines in {"router": OWN_ROUTE, "schemas": OWN_SHAPE, "service": OWN_RULE}.items():
        with (service / f"app/orders/{name}.py").open("a") as file:
            file.write(lines)
    commit(service)
    before = files(service)

    there = components.add(service, [choice], lock=False, template_source=source)
    assert there.conflicts == ()
    commit(service)
    name, _ = CHOICES[choice]
    back = components.add(service, [f"{name}={as_option(QUESTIONS[name].default)}"], lock=False, template_source=source)
    assert back.conflicts == ()
    assert files(service) == before


def test_what_is_asked_for_the_first_time_stays_off(source: Source, tmp_path: Path) -> None:
    """A service that gets a database gets no users with it, and the result names that option."""
    service = make(source, tmp_path / "service", database="none")

    result = components.add(service, ["database=postgresql"], lock=False, template_source=source)

    assert result.absent == {"auth": "none"}
    assert read_answers(service)["auth"] == "none"
    assert files(service) == files(make(source, tmp_path / "fresh", database="postgresql", auth="none"))
    assert [*result.next_steps] == MIGRATE


def test_another_database_starts_a_new_chain(source: Source, tmp_path: Path) -> None:
    """Migrations contain types of their database, so another database starts a new chain."""
    service = make(source, tmp_path / "service")

    result = components.add(service, ["database=postgresql"], lock=False, template_source=source)

    assert result.conflicts == ()
    assert read_answers(service)["amounts"] == "numeric"
    begin, migrate = (step.partition("   #")[0] for step in result.next_steps)
    assert begin.startswith('git rm --quiet --ignore-unmatch "migrations/versions/*.py" && ')
    assert begin.endswith('&& uv run alembic revision --autogenerate -m "start on postgresql"')
    assert migrate == f"{MIGRATE[0]} && git add migrations/versions"


def test_what_needs_another_goes_with_it(source: Source, tmp_path: Path) -> None:
    """A database is removed together with the users in it, and never without them."""
    service = make(source, tmp_path / "service")

    with pytest.raises(UsageError, match="auth=jwt needs a database, but database=none"):
        components.remove(service, ["database"], lock=False, template_source=source)
    result = components.remove(service, ["auth", "database"], lock=False, template_source=source)

    assert result.conflicts == ()
    assert "auth" not in read_answers(service)
    assert files(service) == files(make(source, tmp_path / "fresh", database="none"))


def test_what_is_added_is_told_of(source: Source, tmp_path: Path) -> None:
    """Adding or removing a component reports its effects on a running service."""
    service = make(source, tmp_path / "service", example=False, auth="none")

    added = components.add(service, ["auth", "cache=memory"], lock=False, template_source=source)
    commit(service)
    removed = components.remove(service, ["auth", "cache"], lock=False, template_source=source)

    assert list(dict.fromkeys(entry.version for entry in added.deploy)) == ["auth", "cache"]
    # The routes of orders are not in it: the service has none.
    assert [entry.version for entry in removed.deploy] == ["auth"] * 3


def test_what_is_left_to_do(source: Source, tmp_path: Path) -> None:
    """Changes to make in .env are reported again after conflicts are resolved, and so are files that are kept."""
    service = make(source, tmp_path / "service", cache="memory", websockets=True)
    (service / ".env").write_text((service / ".env.example").read_text())
    rooms, lifespan = service / "app" / "core" / "realtime" / "rooms.py", service / "app" / "lifespan.py"
    rooms.write_text(rooms.read_text().replace("CLOSE_SECONDS = 1.0", "CLOSE_SECONDS = 2.0"))
    lifespan.write_text(lifespan.read_text().replace("    open_rooms,\n", "    open_rooms,  # the last to open\n"))
    commit(service)

    stopped = components.remove(service, ["cache", "websockets"], lock=False, template_source=source)
    assert stopped.conflicts == ("app/lifespan.py",)
    [settings] = [note for note in stopped.notes if note.startswith(".env is yours")]
    assert "delete CACHE_MAX_ENTRIES, " in settings
    assert "Do so before anything runs" in settings
    git.run("checkout", "--theirs", "app/lifespan.py", cwd=service)
    git.run("add", "app/lifespan.py", cwd=service)

    done = resume(service, lock=False)
    assert done.notes == (settings,)
    shown = StringIO()
    show_result(done, would=False, out=Console(file=shown, width=200))
    assert "git rm app/core/realtime/rooms.py " in shown.getvalue()


OWN = """revision = "{revision}"\ndown_revision = {follows}\nbranch_labels = None\ndepends_on = None
def upgrade() -> None: ...\ndef downgrade() -> None: ...\n"""
MIGRATE = ["uv run python -m app migrate"]
DOWN = ["git stash && uv run alembic downgrade base; git stash pop --index"]


def write(title: str) -> list[str]:
    """Return the steps that create a migration and run it."""
    return [
        f'{MIGRATE[0]} && uv run alembic revision --autogenerate -m "{title}"',
        f"{MIGRATE[0]} && git add migrations/versions",
    ]


@pytest.mark.parametrize(
    ("data", "own", "change", "chain", "steps"),
    [
        ("", "", "+auth", "0001_users", MIGRATE),
        ("", "0001", "+auth", "0001_ours", write("add auth")),
        ("", "", "+auth +example", "0001_orders", MIGRATE),
        ("auth", "", "+example", "0001_users", write("add example")),
        ("auth", "", "-auth", "", DOWN),
        ("auth", "0002", "-auth", "0001_users 0002_ours", write("remove auth")),
        ("example", "", "+auth", "0001_orders", write("add auth")),
        ("example", "0002", "+auth", "0001_orders 0002_ours", write("add auth")),
        ("example", "0002", "+auth +cache +websockets", "0001_orders 0002_ours", write("add auth")),
        ("example", "", "-example", "", DOWN),
        ("example auth", "", "-auth", "0001_orders", write("remove auth")),
        ("example auth", "", "-example", "0001_orders", write("remove example")),
        ("example auth", "0002", "-example", "0001_orders 0002_ours", write("remove example")),
        ("example auth", "", "-auth -example", "", DOWN),
    ],
)
def test_migrations_stay_one_chain(
    source: Source, tmp_path: Path, data: str, own: str, change: str, chain: str, steps: list[str]
) -> None:
    """A chain of migrations in use is kept and has one start, and the next steps are reported."""
    service = make(source, tmp_path / "service", example="example" in data, auth="jwt" if "auth" in data else "none")
    if own:
        follows = None if own == "0001" else '"0001"'
        (service / VERSIONS / f"{own}_ours.py").write_text(OWN.format(revision=own, follows=follows))
        commit(service)
    before = {file.name: file.read_text() for file in (service / VERSIONS).glob("*.py")}

    act = components.add if change.startswith("+") else components.remove
    names = re.findall(r"\w+", change)
    result = act(service, names, lock=False, template_source=source)

    assert result.conflicts == ()
    after = {file.name: file.read_text() for file in (service / VERSIONS).glob("*.py")}
    assert sorted(after) == [f"{name}.py" for name in chain.split()]
    assert after.items() >= {name: text for name, text in before.items() if name in after}.items()
    assert [step.partition("   #")[0] for step in result.next_steps] == steps
