"""Show a new service: its parts, and the commands to run next."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from quickset.locking import find_uv, is_lock
from quickset.report.console import change_folder
from quickset.shell import quote

if TYPE_CHECKING:
    # This module imports Copier, which takes longer than some commands.
    from quickset.commands.new import Created

# A description of each part of a service; <package> stands for the name of its package.
PARTS: Mapping[str, str] = {
    "<package>": "the service",
    "<package>/commands": "migrate, check and other commands",
    "<package>/core": "shared code: settings, errors, health, logs",
    "<package>/auth": "sign-in: tokens, passwords",
    "<package>/clients": "clients for other services",
    "<package>/users": "users and their roles",
    "<package>/orders": "the example: a complete feature",
    "<package>/routers": "HTTP routes",
    "<package>/services": "business rules",
    "<package>/repositories": "queries",
    "<package>/models": "tables",
    "<package>/schemas": "request and response bodies",
    "<package>/dependencies": "arguments of routes",
    "<package>/main.py": "create_app: assembles the service",
    "<package>/api.py": "API versions and their routers",
    "<package>/resources.py": "what you add: routers, models, middleware",
    "<package>/settings.py": "your own settings",
    "migrations": "database migrations",
    "scripts": "open updates of the template for review",
    "tests": "the tests: uv run pytest",
    "Dockerfile": "the image: service and migrations",
    "compose.yaml": "the service and its servers",
    "compose.override.yaml": "the same for development, with reload",
    "compose.services.yaml": "your own Compose services",
    "docs": "how to add a resource, and more",
    ".dockerignore": "files to leave out of the image",
    ".env": "settings for development, fresh secrets",
    ".env.example": "every setting, explained",
    ".github": "workflows for updates of the template",
    ".gitignore": "files that git ignores",
    ".gitlab": "jobs for updates of the template",
    ".gitlab-ci.yml": "the parts of the pipeline",
    ".pre-commit-config.yaml": "checks before each commit",
    ".copier-answers.yml": "your answers, the template's version",
    "CHANGELOG.md": "the service's own change log",
    "LICENSE": "the license",
    "README.md": "how to run, test, configure and extend it",
    "justfile": "shortcuts: uv run just",
    "pyproject.toml": "dependencies and tools",
    "uv.lock": "exact versions of all dependencies",
}

# These have the same description for every template.
_ANYWHERE = (".copier-answers.yml", ".gitignore", "LICENSE", "uv.lock")

_SERVERS = {"postgresql": "PostgreSQL", "mysql": "MySQL or MariaDB"}


def show_created(created: "Created", *, dry_run: bool, out: Console) -> None:
    """Show a new service: a tree with a description of each part, and the commands to run next.

    Args:
        created: The service.
        dry_run: The service was not really created.
        out: The console.
    """
    out.print(service_tree(created))
    out.print()
    version = created.template if created.released else f"{created.template} (unreleased)"
    done = [*["dependencies locked"] * created.locked, *["first commit made"] * created.committed]
    steps = f" {', '.join(done).capitalize()}." if done else ""
    created_files = f"{len(created.files)} files from template {escape(version)}."
    out.print(f"{'Would create' if dry_run else 'Created'} {created_files}{steps}", soft_wrap=True)
    for note in created.notes:
        out.print(Text(f"! {note}", style="yellow"), soft_wrap=True)
    if dry_run:
        return
    if commands := next_commands(created):
        out.print("\nNext:")
    for command in commands:
        out.print(Text(f"  {command}", style="bold"), soft_wrap=True)
    if not created.foreign and (need := _need(created.answers)):
        out.print(need, soft_wrap=True)


def service_tree(created: "Created") -> Tree:
    """Draw the tree of a service.

    Args:
        created: The service.

    Returns:
        The tree with the known descriptions of its parts.
    """
    package = str(created.answers.get("package_name", "app"))
    parts = _known_parts(created) if created.foreign else PARTS
    top = sorted({file.split("/")[0] for file in created.files}, key=lambda name: (name in created.files, name))
    inner = sorted({part for file in created.files if (part := _described_part(file, package, parts))})
    tree = Tree(Text(f"{created.path.name}/", style="bold"))
    # Names of the second level are indented by two guides.
    widths = [len(name) + 1 for name in top] + [len(name.split("/")[1]) + 5 for name in inner]
    width = max(widths, default=0)
    for name in top:
        folder = name not in created.files
        branch = tree.add(_entry(name, parts.get(_key(name, package), ""), width, folder=folder))
        for part in inner:
            if part.startswith(f"{name}/"):
                text = parts[_key(part, package)]
                branch.add(_entry(part.split("/")[1], text, width - 4, folder=part not in created.files))
    return tree


def _known_parts(created: "Created") -> dict[str, str]:
    """Select the descriptions that apply to a service of any template."""
    is_locked = created.locked or is_lock(created.path / "uv.lock")
    return {name: PARTS[name] for name in _ANYWHERE if name != "uv.lock" or is_locked}


def _described_part(file: str, package: str, parts: Mapping[str, str]) -> str | None:
    part = "/".join(file.split("/")[:2])
    return part if "/" in part and _key(part, package) in parts else None


def _key(path: str, package: str) -> str:
    first, slash, rest = path.partition("/")
    return f"<package>{slash}{rest}" if first == package else path


def _entry(name: str, text: str, width: int, *, folder: bool) -> Text:
    label = name + "/" * folder
    return Text.assemble((label.ljust(width + 2) if text else label, "cyan" if folder else ""), (text, "dim"))


def next_commands(created: "Created") -> list[str]:
    """Return the commands that change to the folder, run the tests and start the service.

    Args:
        created: The service.

    Returns:
        Commands for a POSIX shell, to run one after the other.
    """
    package = created.answers.get("package_name", "app")
    database = created.answers.get("database", "none")
    there = change_folder(created.path)
    if created.foreign and not _is_like_ours(created):
        return there
    test = ["uv run pytest"]
    if find_uv() is None:
        test.insert(0, "python -m pip install uv")
    start = [f"uv run python -m {quote(str(package))}"]
    if database != "none":
        in_commands = f"{package}/commands/migrate.py" in created.files
        start.insert(0, f"{start[0]} migrate" if in_commands else f"uv run python -m {quote(f'{package}.migrate')}")
    if database in _SERVERS and created.answers.get("docker"):
        start.insert(0, "docker compose up --detach --wait database")
    return [*there, " && ".join(test), " && ".join(start)] if there else [" && ".join(test), *start]


def _is_like_ours(created: "Created") -> bool:
    """Return whether a service of another template, such as a fork, has the commands of ours."""
    package = created.answers.get("package_name", "app")
    needed = {"pyproject.toml", "tests/conftest.py", f"{package}/__main__.py"}
    if created.answers.get("database", "none") != "none":
        needed.add(f"{package}/migrate.py")
    return needed <= {*created.files}


def _need(answers: Mapping[str, Any]) -> str | None:
    server = _SERVERS.get(str(answers.get("database")))
    if server is None:
        return None
    if answers.get("docker"):
        return f"The last two need Docker, which brings {server}; without it, see README.md."
    return f"The last two need {server}: at TEST_DATABASE_URL for the tests, at DATABASE_URL (in .env) for the service."
