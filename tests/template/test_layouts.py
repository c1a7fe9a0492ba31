"""Both layouts are the same service: each module has the same body in two places."""

import ast
import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.questions import Answer, read_questions
from tests.rendering import RenderService, read_tree
from tests.services.environments import environment_of, newest_python, python_for
from tests.services.trial import clean_environment

# The files that must name the modules of a layout: contracts, a map for people, the recorded answer.
SPEAKS_OF_ITS_LAYOUT = {".copier-answers.yml", "README.md", "docs/extend.md", "docs/resource.md", "pyproject.toml"}
PRINT_OPENAPI = "import json, app.main; print(json.dumps(app.main.create_app().openapi()))"

DATABASES = next(question.choices for question in read_questions() if question.name == "database")
SERVICES: list[dict[str, Answer]] = [
    {"database": database, "example": example} for database in DATABASES for example in (True, False)
]
everywhere = pytest.mark.parametrize(
    "answers", SERVICES, ids=lambda answers: f"{answers['database']}-{'orders' if answers['example'] else 'bare'}"
)


def both(render_service: RenderService, answers: Mapping[str, Answer]) -> tuple[Path, Path]:
    """Render a service in both layouts."""
    return render_service({"layout": "feature", **answers}), render_service({"layout": "layered", **answers})


def body(text: str) -> str:
    """Return a module without its import paths. The imported names stay, in alphabetical order."""
    names: list[str] = []
    lines = text.splitlines()
    for statement in reversed(ast.parse(text).body):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("app"):
            names += [f"{alias.name} as {alias.asname}" for alias in statement.names]
            del lines[statement.lineno - 1 : statement.end_lineno]
    return "\n".join([*sorted(names), *filter(None, lines)])


@everywhere
def test_every_module_has_one_body(answers: Mapping[str, Answer], render_service: RenderService) -> None:
    """Except for imports, both layouts have the same modules in different places."""
    feature, layered = both(render_service, answers)
    modules = [
        Counter(body(text) for path, text in read_tree(tree).items() if path.endswith(".py") and is_code(path, text))
        for tree in (feature, layered)
    ]
    assert modules[0] == modules[1]


def is_code(path: str, text: str) -> bool:
    """Return whether a module is more than a package marker that describes its folder."""
    return not (path.endswith("/__init__.py") and all(isinstance(part, ast.Expr) for part in ast.parse(text).body))


@everywhere
def test_shared_files_know_no_layout(answers: Mapping[str, Answer], render_service: RenderService) -> None:
    """Files with the same path in both layouts are equal, except for import paths."""
    feature, layered = (read_tree(tree) for tree in both(render_service, answers))
    different = {
        path
        for path in feature.keys() & layered.keys() - SPEAKS_OF_ITS_LAYOUT
        if feature[path] != layered[path] and not (path.endswith(".py") and body(feature[path]) == body(layered[path]))
    }
    assert different == set()


IMPORT_RESOURCES = {
    "clients.py",
    "conftest.py",
    "memory.py",
    "test_auth.py",
    "test_auth_service.py",
    "test_create_admin.py",
    "test_order_owners.py",
    "test_order_service.py",
}


@everywhere
def test_tests_through_http_are_identical(answers: Mapping[str, Answer], render_service: RenderService) -> None:
    """The generated tests are equal, byte for byte, except those that import a resource's modules."""
    feature, layered = (read_tree(tree / "tests") for tree in both(render_service, answers))
    assert feature.keys() == layered.keys()
    different = {path for path in feature if feature[path] != layered[path]}
    assert different <= IMPORT_RESOURCES


@pytest.mark.ci
@everywhere
def test_both_layouts_have_one_api(answers: Mapping[str, Answer], render_service: RenderService) -> None:
    """The OpenAPI document is the same in both layouts."""
    services = both(render_service, answers)
    documents = [openapi(service) for service in services]
    assert documents[0] == documents[1]
    assert any("orders" in path for path in documents[0]["paths"]) is answers["example"]


def openapi(service: Path) -> dict[str, dict[str, object]]:
    """Return the OpenAPI document of a service."""
    finished = subprocess.run(
        [environment_of(service, python_for("3.11") or newest_python()).python, "-c", PRINT_OPENAPI],
        cwd=service,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    document: dict[str, dict[str, object]] = json.loads(finished.stdout)
    return document
