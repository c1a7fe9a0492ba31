"""Database servers for the tests: existing shared servers, and private servers that a test starts.

`shared_server(kind)` yields the server whose address is in the environment, or the one at the standard local port, or
one that it starts. Tests create their own databases on it and never stop it.

`database_server(kind)` yields a private server, started from the installed binaries on a free port. A test may call
`stop()`, `kill()` and `start()` at any time. At the end of the `with` block it is stopped and its files are removed.

Both raise `MissingServerError`, which names what is missing and how to install it. Both yield a `Server`:

* `url(database)` is the URL for SQLAlchemy's async engine. Without an argument it is the maintenance database.
* `create_database()` creates an empty database and returns its name.
* `drop_database(name)` removes a database, even with open connections.
* `database()` does both as a context manager and yields the name.
* `execute(statement)` and `scalar(statement, database)` run one statement without an event loop.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

Kind = Literal["postgresql", "mysql"]
KINDS: tuple[Kind, ...] = get_args(Kind)

VARIABLES: Mapping[Kind, str] = {
    "postgresql": "QUICKSET_POSTGRESQL_URL",
    "mysql": "QUICKSET_MYSQL_URL",
}
DEFAULTS: dict[Kind, str] = {
    "postgresql": "postgresql://postgres@127.0.0.1:5432/postgres",
    "mysql": "mysql://root@127.0.0.1:3306/mysql",
}
ADVICE: Mapping[Kind, str] = {
    "postgresql": "install PostgreSQL (Debian: apt install postgresql)",
    "mysql": "install MariaDB (Debian: apt install mariadb-server)",
}
PROGRAMS: Mapping[Kind, Sequence[str]] = {"postgresql": ("initdb",), "mysql": ("mariadbd", "mysqld")}
# Locations of the programs below the root, if they are not on PATH.
PROGRAM_FOLDERS: tuple[str, ...] = (
    "usr/local/sbin",
    "usr/sbin",
    "usr/lib/postgresql/*/bin",
    "opt/homebrew/opt/*/bin",
    "usr/local/opt/*/bin",
)
START_SECONDS = 60.0
CLIENT_ERRORS = (psycopg.Error, pymysql.Error, OSError)


class MissingServerError(Exception):
    """No server of a kind responds, and the programs to start one are not installed."""


@dataclass(frozen=True)
class Address:
    """The address and the credentials of a server."""

    kind: Kind
    host: str
    port: int
    user: str
    password: str
    maintenance: str

    @classmethod
    def parse(cls, kind: Kind, url: str) -> Self:
        """Parse a URL such as `mysql://root@127.0.0.1:3306/mysql`. A driver after `+` is ignored."""
        parts = urlsplit(url)
        standard = urlsplit(DEFAULTS[kind])
        return cls(
            kind=kind,
            host=parts.hostname or "127.0.0.1",
            port=parts.port or standard.port or 0,
            user=unquote(parts.username or standard.username or ""),
            password=unquote(parts.password or ""),
            maintenance=parts.path.strip("/") or standard.path.strip("/"),
        )


class Server:
    """A database server that responds."""

    def __init__(self, address: Address, origin: str) -> None:
        """Describe the server at `address`. `origin` names its source."""
        self.address = address
        self.origin = origin

    @property
    def kind(self) -> Kind:
        """The database engine."""
        return self.address.kind

    @property
    def host(self) -> str:
        """The host."""
        return self.address.host

    @property
    def port(self) -> int:
        """The port."""
        return self.address.port

    def url(self, database: str | None = None) -> str:
        """Return the URL of a database for SQLAlchemy's async engine."""
        address = self.address
        driver = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy"}[address.kind]
        user = f"{address.user}:{address.password}" if address.password else address.user
        return f"{driver}://{user}@{address.host}:{address.port}/{database or address.maintenance}"

    def scalar(self, statement: str, database: str | None = None) -> Any:
        """Run one statement, committed at once, and return the first value of its result, if any."""
        name = database or self.address.maintenance
        if self.kind == "postgresql":
            return _ask_postgresql(self.address, name, statement)
        return _ask_mysql(self.address, name, statement)

    def execute(self, statement: str, database: str | None = None) -> None:
        """Run one statement, committed at once."""
        self.scalar(statement, database)

    def create_database(self) -> str:
        """Create an empty database with a unique name."""
        name = f"quickset_{uuid.uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, even with open connections."""
        force = " WITH (FORCE)" if self.kind == "postgresql" else ""
        self.execute(f"DROP DATABASE IF EXISTS {name}{force}")

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the name of a new database, which is removed afterwards."""
        name = self.create_database()
        try:
            yield name
        finally:
            self.drop_database(name)


def _ask_postgresql(address: Address, database: str, statement: str) -> Any:
    with psycopg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password or None,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    ) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def _ask_mysql(address: Address, database: str, statement: str) -> Any:
    connection = pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=database,
        autocommit=True,
        connect_timeout=5,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        return row[0] if row else None


class PrivateServer(Server, ABC):
    """A private server, started from binaries on a free port, with its files in a temporary folder."""

    def __init__(self, address: Address, folder: Path, environment: Mapping[str, str]) -> None:
        """Create the data directory of a server for `address`."""
        super().__init__(address, f"started on port {address.port}")
        self.folder = folder
        self.log = folder / "server.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Create the data directory."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return the command that starts the server."""

    _stop_signal = signal.SIGTERM

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its port with its existing data, and wait until it responds."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not self.running:
                self._process = self._spawn(self._command())
            try:
                self.scalar("SELECT 1")
            except CLIENT_ERRORS:
                if time.monotonic() > deadline:
                    self.kill()
                    tail = self.log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.kind} did not start within {START_SECONDS:g} s:\n{tail}") from None
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """Stop the server cleanly. Its clients lose their connections."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Stop the server at once, as in a crash."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its files."""
        self.kill()
        # Children of a killed server may need a moment to exit, and write until then.
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._process = None

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self._environment),
                start_new_session=True,
                **_identity(self.folder),
            )

    def _run(self, command: Sequence[str | Path]) -> None:
        if self._spawn(command).wait(timeout=START_SECONDS):
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{Path(command[0]).name} failed:\n{tail}")


class PrivatePostgreSQL(PrivateServer):
    """PostgreSQL without passwords and without waiting for the disk."""

    # A "fast" shutdown disconnects clients. SIGTERM would wait for them.
    _stop_signal = signal.SIGINT

    def _prepare(self) -> None:
        initdb = find_program("initdb")
        self._run(
            [initdb, "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        )

    def _command(self) -> Sequence[str | Path]:
        options = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "fsync=off",
            f"unix_socket_directories={self.folder}",
        ]
        flags = [part for option in options for part in ("-c", option)]
        return [find_program("postgres"), "-D", self.folder / "data", *flags]


class PrivateMySQL(PrivateServer):
    """MariaDB or MySQL with a root user without a password."""

    def _prepare(self) -> None:
        data = f"--datadir={self.folder / 'data'}"
        try:
            install = find_program("mariadb-install-db", "mysql_install_db")
        except MissingServerError:
            self._run([find_program("mysqld"), "--no-defaults", "--initialize-insecure", data])
        else:
            self._run([install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"])
        (self.folder / "init.sql").write_text(
            "CREATE USER IF NOT EXISTS root@'127.0.0.1';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        (self.folder / "init.sql").chmod(0o644)

    def _command(self) -> Sequence[str | Path]:
        return [
            find_program("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--init-file={self.folder / 'init.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
        ]


def _identity(folder: Path) -> dict[str, Any]:
    """Return the options that make a process run as an ordinary user, because both engines refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    owner = folder.stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def find_program(*names: str) -> Path:
    """Return the first of these programs that is installed.

    Raises:
        MissingServerError: None of them is installed.
    """
    folders = [os.environ.get("PATH", "")]
    for pattern in PROGRAM_FOLDERS:
        found = Path("/").glob(pattern)
        folders.extend(str(path) for path in sorted(found, key=_release, reverse=True))
    for name in names:
        if program := shutil.which(name, path=os.pathsep.join(folders)):
            return Path(program)
    raise MissingServerError(f"none of these programs is installed: {', '.join(names)}")


def _release(folder: Path) -> float:
    with suppress(ValueError):
        return float(folder.parent.name)
    return 0.0


@contextmanager
def database_server(kind: Kind) -> Iterator[PrivateServer]:
    """Yield a running private server.

    Raises:
        MissingServerError: Its programs are not installed.
    """
    try:
        find_program(*PROGRAMS[kind])
    except MissingServerError as error:
        raise MissingServerError(f"no private {kind} server: {error}; {ADVICE[kind]}") from None
    address = Address.parse(kind, DEFAULTS[kind])
    address = Address(kind, "127.0.0.1", free_port(), address.user, "", address.maintenance)
    # A short path for the socket, and outside pytest's own folder, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="quickset-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", _group_of("nobody"))
    private = PrivatePostgreSQL if kind == "postgresql" else PrivateMySQL
    try:
        server = private(address, folder, {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"})
        try:
            server.start()
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _group_of(user: str) -> int:
    import pwd  # POSIX only, as the servers that are started

    return pwd.getpwnam(user).pw_gid


@contextmanager
def shared_server(kind: Kind) -> Iterator[Server]:
    """Yield the server for new databases: the given one, or one that is found, or one that is started.

    Raises:
        MissingServerError: There is none, or the given one does not respond.
    """
    variable = VARIABLES[kind]
    if given := os.environ.get(variable):
        server = Server(Address.parse(kind, given), f"given by {variable}")
        if (fault := why_silent(server)) is not None:
            raise MissingServerError(f"the {kind} server of {variable} does not answer: {fault}")
        yield server
        return
    server = Server(Address.parse(kind, DEFAULTS[kind]), "found at its standard port")
    fault = why_silent(server)
    if fault is None:
        yield server
        return
    try:
        with database_server(kind) as private:
            yield private
    except MissingServerError as error:
        raise MissingServerError(
            f"no {kind} server at {DEFAULTS[kind]} ({fault}), and {error}; or set {variable}"
        ) from None


def why_silent(server: Server) -> str | None:
    """Return the reason why a server cannot be used in one line, or an empty string."""
    try:
        server.scalar("SELECT 1")
    except CLIENT_ERRORS as error:
        return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return None


def _own_ports() -> Iterator[int]:
    """Return ports that no other worker of this run uses, below the system's range for connections."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = 10_000 + worker + workers * secrets.randbelow(10_000 // workers)
    return cycle(range(first, 32_000, workers))


_PORTS = _own_ports()


def free_port() -> int:
    """Return an unused local port, a different one each time."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another port")
