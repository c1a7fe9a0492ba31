"""The core of a service, `app/core`, does not depend on the code that uses it."""

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

from tests.questions import Answer
from tests.rendering import RenderService, read_tree

EVERYTHING: Mapping[str, Answer] = {
    "cache": "memory",
    "database": "postgresql",
    "http_client": True,
    "streaming": True,
    "websockets": True,
}
CORE = "app/core/"
PREFIX = re.compile(r'APIRouter\(prefix="(/\w+)"')
TABLE = re.compile(r'__tablename__ = "(\w+)"')


@pytest.fixture(params=["feature", "layered"])
def tree(request: pytest.FixtureRequest, render_service: RenderService) -> Mapping[str, str]:
    """Return the files of a service with all optional parts."""
    return read_tree(render_service({**EVERYTHING, "layout": request.param}))


def imported(text: str) -> Iterator[str]:
    """Yield the modules that a module imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_core_imports_the_core_only(tree: Mapping[str, str]) -> None:
    """Modules of the core import only each other."""
    found = {
        f"{path}: {module}"
        for path, text in tree.items()
        if path.startswith(CORE) and path.endswith(".py")
        for module in imported(text)
        if module.split(".")[0] in {"app", "tests"} and not f"{module}.".startswith("app.core.")
    }
    assert found == set()


def test_core_names_no_feature(tree: Mapping[str, str]) -> None:
    """The core contains no path, table or name of a feature."""
    features = "\n".join(text for path, text in tree.items() if path.startswith("app/") and not path.startswith(CORE))
    paths, tables = set(PREFIX.findall(features)), set(TABLE.findall(features))
    assert {"/auth", "/orders", "/users"} <= paths
    assert {"orders", "refresh_tokens", "users"} <= tables
    words = [rf'["`]{path}|/v1{path}' for path in paths]
    words += [rf"\b{table}\b" for table in tables - {"users"}]
    named = re.compile("|".join([*words, r"order(?!ly|ed|s? of)(_|\.|s?\b)", "exchange_rate"]), re.IGNORECASE)
    found = [
        f"{path}: {line.strip()}"
        for path, text in tree.items()
        if path.startswith(CORE)
        for line in [path, *text.splitlines()]
        if named.search(line) and not re.search("in (reverse )?order", line)
    ]
    assert found == []
