"""Services to try, each rendered once, and databases to break."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar, cast

import pytest
from typing_extensions import LiteralString

from ..running import (
    FileStore,
    Project,
    ServerStore,
    Service,
    Store,
    Variant,
    copy_template,
    sync_environment,
)
from ..servers import Kind, MissingServerError, PrivateServer, Server, database_server, shared_server

S = TypeVar("S")

# What the page of a client at another origin may do, in the services that most tests share.
ORIGIN = "https://shop.example"


@pytest.fixture(scope="session")
def open_until_end() -> Iterator[ExitStack]:
    """Hold what is costly to open until the last test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def variant(request: pytest.FixtureRequest) -> Variant:
    """Return the answers under test."""
    variant: Variant = request.param
    return variant


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Project]:
    """Return a function that renders a service, once for each variant."""
    root = tmp_path_factory.mktemp("services")
    source = copy_template(root / "source")
    rendered: dict[Variant, Project] = {}
    interpreters: dict[str, Path] = {}

    def project(variant: Variant) -> Project:
        if variant not in rendered:
            folder = root / str(variant)
            environment = root / f"environment-{variant.database}"
            service = Project.render(source, folder, environment / "bin" / "python", variant)
            # Layout and error format need no other packages.
            if variant.database not in interpreters:
                interpreters[variant.database] = sync_environment(folder, environment)
            rendered[variant] = service
        return rendered[variant]

    return project


@pytest.fixture(scope="session")
def project(projects: Callable[[Variant], Project], variant: Variant) -> Project:
    """Return the service under test, rendered and with its environment."""
    return projects(variant)


@pytest.fixture(scope="session")
def server_of(open_until_end: ExitStack) -> Callable[[Kind], Server]:
    """Return a function that finds the server for databases of a kind."""
    servers: dict[str, Server] = {}

    def server(kind: Kind) -> Server:
        if kind not in servers:
            servers[kind] = _found(lambda: open_until_end.enter_context(shared_server(kind)))
        return servers[kind]

    return server


@pytest.fixture(scope="session")
def private_server_of(open_until_end: ExitStack) -> Callable[[Kind], PrivateServer]:
    """Return a function that starts a server which tests may stop and kill."""
    servers: dict[str, PrivateServer] = {}

    def server(kind: Kind) -> PrivateServer:
        if kind not in servers:
            servers[kind] = _found(lambda: open_until_end.enter_context(database_server(kind)))
        if not servers[kind].running:
            servers[kind].start()
        return servers[kind]

    return server


def _found(find: Callable[[], S]) -> S:
    try:
        return find()
    except MissingServerError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def new_store(
    projects: Callable[[Variant], Project],
    server_of: Callable[[Kind], Server],
    tmp_path_factory: pytest.TempPathFactory,
    open_until_end: ExitStack,
) -> Callable[[Variant, ExitStack], Store]:
    """Return a function that makes a migrated database, which lasts as long as the stack it is given."""
    pristine: dict[Variant, Store] = {}

    def migrated(variant: Variant, stack: ExitStack) -> Store:
        if variant.database == "none":
            return Store("")
        store: Store
        if variant.database == "sqlite":
            store = FileStore(tmp_path_factory.mktemp("store") / "data.db")
        else:
            server = server_of(variant.database)
            store = ServerStore(server, stack.enter_context(server.database()))
        projects(variant).migrate(store)
        return store

    def store(variant: Variant, stack: ExitStack) -> Store:
        if variant.database == "mysql":
            return migrated(variant, stack)
        # The other two copy a database faster than they migrate one.
        if variant not in pristine:
            pristine[variant] = migrated(variant, open_until_end)
        origin = pristine[variant]
        if isinstance(origin, FileStore):
            copy = FileStore(tmp_path_factory.mktemp("store") / "data.db")
            for path in origin.files:
                shutil.copy(path, copy.path.with_name(path.name))
            return copy
        if isinstance(origin, ServerStore):
            name = f"quickset_{uuid.uuid4().hex[:16]}"
            origin.server.execute(cast("LiteralString", f"CREATE DATABASE {name} TEMPLATE {origin.name}"))
            stack.callback(origin.server.drop_database, name)
            return ServerStore(origin.server, name)
        return origin

    return store


@pytest.fixture(scope="session")
def store(
    new_store: Callable[[Variant, ExitStack], Store], variant: Variant, open_until_end: ExitStack
) -> Store:
    """Return a migrated database that others use, too: leave it as it was, but for orders of your own."""
    return new_store(variant, open_until_end)


@pytest.fixture
def own_store(new_store: Callable[[Variant, ExitStack], Store], variant: Variant) -> Iterator[Store]:
    """Return a migrated database of the test's own, to do anything with."""
    with ExitStack() as stack:
        yield new_store(variant, stack)


@pytest.fixture(scope="session")
def settings(store: Store) -> dict[str, str]:
    """Return the settings of the service that most tests share."""
    database = {"DATABASE_URL": store.url} if store.url else {}
    return database | {"CORS_ORIGINS": ORIGIN, "ACCESS_LOG_HEALTH": "true"}


@pytest.fixture(scope="module")
def service(project: Project, settings: dict[str, str]) -> Iterator[Service]:
    """Return the service under test, running; the tests of a module share it."""
    with project.start(settings) as service:
        yield service
