"""A service with an owner: in a repository, with a database, and with commands that run as printed."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from quickset import git
from quickset.updating.result import UpdateResult
from tests.services.environments import Environment, environment_of, newest_python, python_for
from tests.services.running import FileStore, Project, ServerStore, Settings, Store, Variant
from tests.services.servers import Kind, MissingServerError, Server
from tests.services.trial import clean_environment, warm_types

# Runs the arguments after `uv run` in the environment of the tests, which needs no package index.
UV = '#!/bin/sh\n[ "$1" = run ] && shift && exec "$@"\n'


def store_of(
    database: str,
    folder: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    stack: ExitStack,
) -> Store:
    """Return a new database that a stack removes. Without a server it is a file."""
    if database not in {"postgresql", "mysql"}:
        return FileStore(folder / "shop.db")
    kind: Kind = "postgresql" if database == "postgresql" else "mysql"
    try:
        server = server_of(kind)
    except MissingServerError as error:
        missing_server(str(error))
    return ServerStore(server, stack.enter_context(server.database()))


@dataclass
class Owned:
    """A service with an owner.

    Attributes:
        folder: Its folder.
        tools: A folder for stand-ins of programs.
        store: Its database.
        variant: Its answers.
        shared: The environment that runs it. Without one, an environment with its current dependencies is used.
    """

    folder: Path
    tools: Path
    store: Store
    variant: Variant
    shared: Environment | None = None

    @property
    def settings(self) -> Settings:
        """The settings of its database and its tests."""
        if isinstance(self.store, ServerStore):
            return {
                "DATABASE_URL": self.store.url, "DATABASE_PASSWORD": "", "TEST_DATABASE_URL": self.store.url,
            }  # fmt: skip
        return {"DATABASE_URL": self.store.url} if self.variant.database == "sqlite" else {}

    @property
    def environment(self) -> Environment:
        """The environment that runs it now."""
        return self.shared or environment_of(self.folder, python_for("3.11") or newest_python())

    @property
    def project(self) -> Project:
        """The service with its current dependencies."""
        return Project(self.folder, self.environment.python, self.variant)

    def replace(self, name: str, old: str, new_text: str) -> None:
        """Replace a text in one of its files."""
        text = (self.folder / name).read_text()
        assert text.count(old) == 1
        (self.folder / name).write_text(text.replace(old, new_text))

    def commit(self) -> None:
        """Commit everything."""
        git.run("add", "--all", cwd=self.folder)
        git.run("commit", "--quiet", "--no-verify", "--allow-empty", "--message", "Ours", cwd=self.folder)

    def sh(self, command: str, text: str = "") -> str:
        """Run a shell command as its owner types it."""
        self.tools.mkdir(exist_ok=True)
        (self.tools / "uv").write_text(UV)
        (self.tools / "uv").chmod(0o755)
        environment = self.environment
        variables = self.project.environment(self.settings)
        variables["PATH"] = f"{self.tools}:{environment.folder / 'bin'}:{clean_environment()['PATH']}"
        if "just check" in command or "mypy" in command:
            variables |= warm_types(self.folder, environment.version)
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=variables,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def migrate(self, result: UpdateResult) -> None:
        """Run the migration steps that `add` or `remove` prints."""
        assert result.conflicts == ()
        for step in result.next_steps:
            self.sh(step)

    def follow(self, result: UpdateResult, *tests: str) -> None:
        """Run the steps that `add` or `remove` prints, and some or all tests of the service."""
        self.migrate(result)
        test = f"python -m pytest -q -n 2 {' '.join(tests)}"
        for command in ("ruff format --check migrations", "ruff check .", test):
            self.sh(command)
        self.commit()
