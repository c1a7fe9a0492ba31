"""Services under test, each rendered once, and databases that tests may break."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services.running import FileStore, Project, ServerStore, Service, Store, Variant
from tests.services.servers import Kind, MissingServerError, PrivateServer, Server, database_server

# The permissions of a page at another origin, in the services that most tests share.
ORIGIN = "https://shop.example"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip running services in the fast run: `uv run pytest` runs the presets, `.ci/run` their behavior."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.ci)


@pytest.fixture(scope="session")
def open_until_end() -> Iterator[ExitStack]:
    """Keep expensive resources open until the last test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def variant(request: pytest.FixtureRequest) -> Variant:
    """Return the answers under test."""
    variant: Variant = request.param
    return variant


@pytest.fixture(scope="session")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Project]:
    """Return a function that renders a service once for each variant."""
    root = tmp_path_factory.mktemp("services")
    rendered: dict[Variant, Project] = {}

    def project(variant: Variant) -> Project:
        if variant not in rendered:
            rendered[variant] = Project.render(template, root / str(variant), variant)
        return rendered[variant]

    return project


@pytest.fixture(scope="session")
def project(projects: Callable[[Variant], Project], variant: Variant) -> Project:
    """Return the service under test, rendered and with its environment."""
    return projects(variant)


@pytest.fixture(scope="session")
def found_server(
    server_of: Callable[[Kind], Server], missing_server: Callable[[str], None]
) -> Callable[[Kind], Server]:
    """Return a function that returns the shared server of a kind, and skips or fails the test without one."""

    def server(kind: Kind) -> Server:
        try:
            return server_of(kind)
        except MissingServerError as error:
            missing_server(str(error))
            raise

    return server


@pytest.fixture(scope="session")
def private_server_of(
    open_until_end: ExitStack, missing_server: Callable[[str], None]
) -> Callable[[Kind], PrivateServer]:
    """Return a function that starts a server which tests may stop and kill."""
    servers: dict[str, PrivateServer] = {}

    def server(kind: Kind) -> PrivateServer:
        if kind not in servers:
            try:
                servers[kind] = open_until_end.enter_context(database_server(kind))
            except MissingServerError as error:
                missing_server(str(error))
                raise
        if not servers[kind].running:
            servers[kind].start()
        return servers[kind]

    return server


@pytest.fixture(scope="session")
def new_store(
    projects: Callable[[Variant], Project],
    found_server: Callable[[Kind], Server],
    tmp_path_factory: pytest.TempPathFactory,
    open_until_end: ExitStack,
) -> Callable[[Variant, ExitStack], Store]:
    """Return a function that creates a migrated database, which is removed with the given stack."""
    pristine: dict[Variant, Store] = {}

    def migrated(variant: Variant, stack: ExitStack) -> Store:
        if variant.database == "none":
            return Store("")
        store: Store
        if variant.database == "sqlite":
            store = FileStore(tmp_path_factory.mktemp("store") / "data.db")
        else:
            server = found_server(variant.database)
            store = ServerStore(server, stack.enter_context(server.database()))
        projects(variant).migrate(store)
        return store

    def store(variant: Variant, stack: ExitStack) -> Store:
        if variant.database == "mysql":
            return migrated(variant, stack)
        # The other two engines copy a database faster than they migrate one.
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
            origin.server.execute(f"CREATE DATABASE {name} TEMPLATE {origin.name}")
            stack.callback(origin.server.drop_database, name)
            return ServerStore(origin.server, name)
        return origin

    return store


@pytest.fixture(scope="session")
def store(new_store: Callable[[Variant, ExitStack], Store], variant: Variant, open_until_end: ExitStack) -> Store:
    """Return a migrated database that tests share. A test may only change its own orders."""
    return new_store(variant, open_until_end)


@pytest.fixture
def own_store(new_store: Callable[[Variant, ExitStack], Store], variant: Variant) -> Iterator[Store]:
    """Return a migrated database of this test, which it may change in any way."""
    with ExitStack() as stack:
        yield new_store(variant, stack)


@pytest.fixture(scope="session")
def settings(store: Store) -> dict[str, str]:
    """Return the settings of the service that most tests share."""
    database = {"DATABASE_URL": store.url} if store.url else {}
    return database | {"CORS_ORIGINS": ORIGIN, "ACCESS_LOG_HEALTH": "true"}


@pytest.fixture(scope="module")
def service(project: Project, settings: dict[str, str]) -> Iterator[Service]:
    """Return the running service under test, with a signed-in client. The tests of a module share it."""
    with project.start(settings) as service:
        if project.variant.has_auth:
            service.sign_in()
        yield service
