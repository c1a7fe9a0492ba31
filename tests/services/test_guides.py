"""The pages in `docs/` of a service work: their files, changes and commands are followed literally."""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from quickset import git
from tests.questions import Answer
from tests.rendering import render
from tests.services.guides import EXTEND, RESOURCE, Step, added_lines, follow, steps
from tests.services.owned import Owned, store_of
from tests.services.running import Variant
from tests.services.servers import Kind, Server
from tests.services.test_compose import services
from tests.services.trial import Trial

# Default parts would only be tested again.
SMALL: Mapping[str, Answer] = {"example": False, "rate_limit": "none", "docker": False, "template_updates": "none"}
MOST_FILES = 9
FIRST = Variant("feature", "none", "envelope")
MORE = (Variant("feature", "sqlite", "envelope"),)
REST = tuple(
    Variant(layout, database, "envelope")
    for layout in ("feature", "layered")
    for database in ("sqlite", "postgresql", "mysql", "none")
    if not any((layout, database) == (each.layout, each.database) for each in (FIRST, *MORE))
)
VARIANTS = (
    FIRST,
    *(pytest.param(each, marks=pytest.mark.ci) for each in MORE),
    *(pytest.param(each, marks=pytest.mark.full) for each in REST),
)


@pytest.fixture
def owned(
    request: pytest.FixtureRequest,
    template: Path,
    tmp_path: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    author: None,
) -> Iterator[Owned]:
    """A small service without a resource."""
    variant: Variant = request.param
    with ExitStack() as stack:
        store = store_of(variant.database, tmp_path, server_of, missing_server, stack)
        auth = {} if variant.database == "none" else {"auth": "none"}
        answers = {"layout": variant.layout, "database": variant.database, **SMALL, **auth}
        owned = Owned(render(template, tmp_path / "service", answers), tmp_path / "tools", store, variant)
        git.run("init", "--quiet", cwd=owned.folder)
        owned.commit()
        yield owned


def test_configuration_is_a_file_to_write() -> None:
    """A block of YAML below the name of a file is its content."""
    assert list(steps("Save it as `client.yaml`:\n\n```yaml\na: b\n```\n")) == [Step("write", "client.yaml", "a: b\n")]


@pytest.mark.parametrize("owned", VARIANTS, indirect=True, ids=str)
def test_a_resource_is_added(owned: Owned) -> None:
    """The resource passes its tests and all checks, with few new files and two lines in `resources.py`."""
    resources = (owned.folder / "app" / "resources.py").read_text()

    commands = follow(owned.folder, RESOURCE)
    assert commands[-1] == "uv run just check"
    for command in commands:
        owned.sh(command)

    status = git.run("status", "--porcelain", "--untracked-files=all", cwd=owned.folder).splitlines()
    new = [line.removeprefix("?? ") for line in status if line.startswith("??")]
    assert sorted({*status} - {f"?? {path}" for path in new}) == [" M app/resources.py"]
    lines = (owned.folder / "app" / "resources.py").read_text().splitlines()
    assert len(lines) == len(resources.splitlines()) + 2
    assert len(new) == MOST_FILES - (owned.variant.database == "none") - (owned.variant.layout == "layered")
    own = {".".join(Path(path).with_suffix("").parts) for path in new}
    for path in new:
        assert {name for name in imported(owned.folder / path) if not name.startswith("app.core.")} <= own


def imported(module: Path) -> set[str]:
    """Return the modules of the service that a module imports from."""
    imports = (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.ImportFrom))
    return {str(node.module) for node in imports if str(node.module).startswith("app.")} - {"app.core"}


@pytest.mark.parametrize("layout", ["feature", "layered"])
@pytest.mark.parametrize("database", ["sqlite", "none"])
def test_what_is_added_is_formatted(template: Path, trial: Trial, layout: str, database: str) -> None:
    """Every file and every change on both pages passes the service's formatter and linter."""
    # The longest possible package name.
    render(template, trial.folder, {"layout": layout, "database": database, "package_name": "a" * 20})

    for page in (RESOURCE, EXTEND):
        follow(trial.folder, page)

    ruff = Path(sys.executable).with_name("ruff")
    trial.run(ruff, "format", "--diff", ".")
    trial.run(ruff, "check", ".")


def test_compose_starts_what_is_added(template: Path, tmp_path: Path) -> None:
    """A service in `compose.services.yaml` starts with the others, in production and in development."""
    service = render(template, tmp_path / "service", {})
    before = services(service).keys()

    for page in (RESOURCE, EXTEND):
        follow(service, page)

    for files in ((), ("compose.yaml",)):
        assert services(service, *files).keys() == before | {"mail"}


def test_a_line_in_the_first_block_is_not_next_to_the_template(template: Path, tmp_path: Path) -> None:
    """A line that is added to `.env.example` is followed by a blank line and a fixed line of the template."""
    service = render(template, tmp_path / "service", {})
    fixed = (service / ".env.example").read_text().splitlines()[:3]

    follow(service, EXTEND)

    heading, *block = (service / ".env.example").read_text().partition("\n\n")[0].splitlines()
    assert [heading, "", fixed[2]] == fixed
    assert [f"+{line}" for line in block] == added_lines((service / EXTEND).read_text(), ".env.example")
