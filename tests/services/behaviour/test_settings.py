"""Invalid values of settings stop the start, with the name of the setting."""

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from tests.services.behaviour.variants import EVERYTHING_VARIANTS, VARIANTS, where
from tests.services.running import PACKAGE, Project, Variant

# Reads settings many times in one process. Its input is JSON with the values of one setting each, in order.
SCRIPT = f"""
import json, os, sys
from pydantic import SecretStr
from {PACKAGE}.core.settings import SettingsError
from {PACKAGE}.settings import Settings, get_settings

def read(name, value):
    os.environ[name] = value
    get_settings.cache_clear()
    try:
        read = getattr(get_settings(), name.lower())
        return {{"value": read.get_secret_value() if isinstance(read, SecretStr) else read, "faults": []}}
    except SettingsError as error:
        return {{"faults": str(error).splitlines()[1:]}}
    finally:
        del os.environ[name]

kinds = {{name.upper(): type(field.default).__name__ for name, field in Settings.model_fields.items()}}
json.dump({{"kinds": kinds, "read": [read(*case) for case in json.load(sys.stdin)]}}, sys.stdout, default=str)
"""

NUMBERS = {"int", "float"}
NO_NUMBERS = ["inf", "-inf", "nan", "1e400", "1" + "0" * 13, "1" + "0" * 30, "9" * 5000, "-1", "many", ""]
SECRET = "p4ssw0rd"

# The trusted certificates of this machine.
ROOTS = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"

REFUSED = {
    "ALLOWED_HOSTS": [
        "",
        '["a.example"]',
        '"a.example"',
        "https://a.example",
        "a.example:8000",
        "a.example/",
        "a b",
        "10.0.0.0/8",
        "*a.example",
        "*.",
        "a.*.example",
        "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
        "user@a.example",
        "::1",
        "good.example,bad one",
    ],
    "TRUSTED_PROXIES": ["proxy.example", "[::1]", "10.0.0.1:80", "10.0.0.0/99", '["10.0.0.1"]', "10.0.0.1 10.0.0.2"],
    "CORS_ORIGINS": [
        "a.example",
        "https://a.example/cart",
        "https://*.a.example",
        "https://a.example/",
        "HTTPS://a.example",
        "https://a b.example",
        '["https://a.example"]',
        "https://user@a.example",
    ],
    "RATE_LIMIT": ["0/minute", "-1/minute", "10", "10/fortnight", "inf/day", f"{10**30}/day", "10/minute\n"],
    "RATE_LIMIT_ROUTES": ["log_in", "GET /orders=1/minute", "/orders=1/minute", "log_in=often"],
    "EXCHANGE_RATES_URL": ["rates", "ftp://a.example", "https://", "https://a.example:99999"],
    "WEB_CONCURRENCY": ["0", "100000"],
    "WORKER_THREADS": ["0", "1001"],
    "PASSWORD_THREADS": ["0", "1001"],
    "HTTP_ATTEMPTS": ["0", "101"],
    "DATABASE_POOL_SIZE": ["0", "10001"],
    "HTTP_MAX_CONNECTIONS": ["0", "10001"],
    "CACHE_MAX_ENTRIES": ["0", "100000001"],
    "RATE_LIMIT_CLIENTS": ["0", "100000001"],
    "DATABASE_MAX_OVERFLOW": ["10001"],
    "KEEP_ALIVE_SECONDS": ["0", "86401"],
    "SHUTDOWN_GRACE_SECONDS": ["0", "86401"],
    "ACCESS_TOKEN_SECONDS": ["0", "31536001"],
    "DATABASE_POOL_RECYCLE_SECONDS": ["0", "31536001"],
    "EVENTS_BUFFER_SIZE": ["0", "10000001"],
    "MAX_BODY_BYTES": ["0", "1000000000001"],
    "WEBSOCKET_MAX_BYTES": ["0", "1000000001"],
    "WEBSOCKET_QUEUE_SIZE": ["0", "1000001"],
    "WEBSOCKET_PING_SECONDS": ["0", "1e-9", "9999999"],
    "PORT": ["65536", "http"],
    "ENVIRONMENT": ["prod", "Production", "production\n"],
    "LOG_LEVEL": ["debug", "TRACE"],
    "LOG_FORMAT": ["JSON", "text"],
    "DEBUG": ["maybe", "2"],
}
READ: dict[str, dict[str, object]] = {
    "ALLOWED_HOSTS": {
        "Shop.example, *.Shops.example,my_host": ["Shop.example", "*.Shops.example", "my_host"],
        "10.0.0.7,[::1],*": ["10.0.0.7", "[::1]", "*"],
    },
    "TRUSTED_PROXIES": {"10.1.2.3/8, ::1,*": ["10.0.0.0/8", "::1/128", "*"]},
    "CORS_ORIGINS": {
        "http://[::1]:3000,https://a.example:80": ["http://[::1]:3000", "https://a.example:80"],
        "null,*,chrome-extension://abcdef": ["null", "*", "chrome-extension://abcdef"],
    },
    "DRAIN_DELAY_SECONDS": {"0": 0.0, "86400": 86_400.0},
    "EXCHANGE_RATES_URL": {"https://a.example/v2/": "https://a.example/v2/"},
}
DATABASE_URLS_REFUSED = {
    "sqlite": [
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite://data.db",
        "sqlite+aiosqlite:///data.db?timeout=soon",
    ],
    "postgresql": [
        "postgres://app@db/app",
        "postgresql+asyncpg://app@db/app?prepared_statement_cache_size=none",
        f"postgresql+asyncpg://db:{SECRET}/app",
    ],
    "mysql": [
        "mysql://app@db/app",
        "mysql+asyncmy://app@db/app?ssl-mode=yes",
        "mysql+asyncmy://app@db/app?read_timeout=soon",
        f"mysql+asyncmy://db:{SECRET}/app",
    ],
}
DATABASE_URLS_READ = {
    "sqlite": ["sqlite+aiosqlite:////tmp/a.db", "sqlite+aiosqlite:///a.db?timeout=3"],
    "postgresql": [
        "postgresql+asyncpg://app@db/app?sslmode=require&application_name=shop&options=-c%20search_path%3Dshop",
        f"postgresql+asyncpg://app@db/app?sslmode=verify-full&sslrootcert={ROOTS}&target_session_attrs=read-write",
        "postgresql+asyncpg://app@db/app?ssl=require&prepared_statement_cache_size=0",
        "postgresql+asyncpg:///app?host=/run/postgresql",
        "postgresql+asyncpg://app@/app?host=db1:5432&host=db2:5432",
        "postgresql+asyncpg://app:p%40ss%2Fword@my_db:5432/app",
        "postgresql+asyncpg://app@[::1]/app",
        "postgresql+asyncpg://app:pass/word@db/app",
    ],
    "mysql": [
        "mysql+asyncmy://app@db/app?ssl-mode=REQUIRED&charset=utf8mb4",
        f"mysql+asyncmy://app@db/app?ssl_ca={ROOTS}",
        "mysql+asyncmy://app@/app?unix_socket=/run/mysqld/mysqld.sock",
    ],
}

everything = where(lambda variant: variant.database == "sqlite", EVERYTHING_VARIANTS)
each_database = where(lambda variant: variant.layout == "feature" and variant.database != "none", VARIANTS)


def read(project: Project, cases: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the results of reading these values, each with the defaults of all other settings."""
    finished = project.run("-c", SCRIPT, typed=json.dumps(cases))
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def assert_refused(project: Project, refused: Mapping[str, Sequence[str]]) -> None:
    """Check that each value is refused in one line with the setting and without a secret."""
    cases = [(name, value) for name, values in refused.items() for value in values]
    for (name, value), result in zip(cases, read(project, cases)["read"], strict=True):
        assert [fault.split()[0].partition(".")[0] for fault in result["faults"]] == [name], (name, value, result)
        assert SECRET not in result["faults"][0]


@everything
def test_refused(project: Project) -> None:
    """An invalid value is refused for every setting."""
    assert_refused(project, REFUSED)


@everything
def test_every_number(project: Project) -> None:
    """A number may not be infinite or overflow."""
    names = [name for name, kind in read(project, [])["kinds"].items() if kind in NUMBERS]
    assert names
    assert_refused(project, dict.fromkeys(names, NO_NUMBERS))


@everything
def test_read(project: Project) -> None:
    """A valid value is accepted and normalized to the form of clients and browsers."""
    cases = [(name, value) for name, values in READ.items() for value in values]
    for (name, value), result in zip(cases, read(project, cases)["read"], strict=True):
        assert result == {"value": READ[name][value], "faults": []}, (name, value)


@each_database
def test_database_url(project: Project, variant: Variant) -> None:
    """A provider's database URL is accepted, unless the driver does not support it."""
    assert_refused(project, {"DATABASE_URL": DATABASE_URLS_REFUSED[variant.database]})
    accepted = [("DATABASE_URL", url) for url in DATABASE_URLS_READ[variant.database]]
    assert [result["faults"] for result in read(project, accepted)["read"]] == [[] for _ in accepted]


@each_database
def test_one_line_for_each_setting(project: Project) -> None:
    """A setting with an invalid format is not also reported as missing."""
    settings = {"ENVIRONMENT": "production", "SECRET_KEY": "s" * 32, "DATABASE_URL": SECRET}
    checked = project.run("-m", PACKAGE, "check", settings=settings)
    assert checked.returncode == 1
    assert checked.stderr.count("DATABASE_URL") == 1
