"""Packages of the command line import only lower packages, so that each can be read without the higher ones."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

from tests.questions import REPOSITORY

SOURCE = REPOSITORY / "src" / "quickset"
# From the lowest to the highest. The shared modules are below them.
PACKAGES = ("templates", "updating", "commands", "report", "cli")


def imports_of(name: str, modules: dict[str, ast.Module]) -> Iterator[str]:
    """Yield the modules that a module imports at any place."""
    for node in ast.walk(modules[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quickset"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def read_modules() -> dict[str, ast.Module]:
    """Return the modules by name."""
    return {
        ".".join(["quickset", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in SOURCE.rglob("*.py")
    }


def level(name: str) -> int:
    """Return the level of a module: 0 for shared modules."""
    package = name.split(".")[1] if name.count(".") > 1 else ""
    return PACKAGES.index(package) + 1 if package else 0


def test_packages_use_what_is_below() -> None:
    """A module imports no module of a higher package, and only the entry point imports the command line."""
    modules = read_modules()
    upwards = [
        f"{name} imports {used}"
        for name in modules
        for used in imports_of(name, modules)
        if name != "quickset.__main__" and level(used) > level(name)
    ]
    assert {level(name) for name in modules} == set(range(len(PACKAGES) + 1))
    assert upwards == []


def test_modules_import_each_other_in_no_circle() -> None:
    """Modules have no circular imports, even inside functions."""
    modules = read_modules()
    order = list(TopologicalSorter({name: set(imports_of(name, modules)) for name in modules}).static_order())
    assert order.index("quickset.errors") < order.index("quickset.cli.app")
