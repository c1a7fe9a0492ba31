"""Clients that are generated from the OpenAPI document compile in strict mode and work, and linters accept it."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from quickset.templates.presets import PRESETS
from tests.questions import Answer
from tests.rendering import render
from tests.services.behaviour.variants import EVERYTHING, once_with_everything
from tests.services.environments import cache_folder, environment_of, newest_python
from tests.services.running import PASSWORD, Project, Service, Store

pytestmark = pytest.mark.full

NPM_PACKAGES = {
    "@hey-api/openapi-ts": "0.95.0",
    "@redocly/cli": "2.77.0",
    "@stoplight/spectral-cli": "6.16.3",
    "@types/node": "20.19.0",
    "typescript": "5.9.3",
}
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
PYTHON_PACKAGES = ("attrs", "httpx", "mypy", "python-dateutil", "types-python-dateutil")
# Without this setting the generator treats each body of a type `text/…` as a string.
PYTHON_CONFIG = re.compile(r"```yaml\n(content_type_overrides:\n.*?)```", re.DOTALL)
PRINT_OPENAPI = "import json, app.main; print(json.dumps(app.main.create_app().openapi()))"
SERVICES: Mapping[str, Mapping[str, Answer]] = {**PRESETS, "everything": {"database": "sqlite", **dict(EVERYTHING)}}

TYPESCRIPT = """
import { client } from "./shop/client.gen";
import * as shop from "./shop/index";

async function main() {
  const [baseUrl, password] = process.argv.slice(2) as [string, string];
  const body = { email: "ts@shop.example", password };
  client.setConfig({ baseUrl });
  await shop.registerUser({ body, throwOnError: true });
  const form = { username: body.email, password };
  const { data: tokens } = await shop.logIn({ body: form, throwOnError: true });
  client.setConfig({ auth: tokens.access_token });
  const lines = [{ sku: "PEN", quantity: 3, unit_price: "1.5" }];
  const order = { reference: "TS-1", customer: "Jane", lines };
  const { data: created, response } = await shop.createOrder({ body: order, throwOnError: true });
  const { data: page } = await shop.listOrders({ query: { status: "draft" }, throwOnError: true });
  const { error } = await shop.getOrder({ path: { order_id: "00000000-0000-0000-0000-000000000000" } });
  const { data: file } = await shop.exportOrders({ parseAs: "blob", throwOnError: true });
  const location: string | null = response.headers.get("location");
  const text: string = await (file as Blob).text();
  const total: string = created.total;
  const code: string | undefined = error?.error.code;
  const isThere: boolean = location === `/api/v1/orders/${created.id}`;
  console.log(JSON.stringify([total, isThere, page.total, code, text.includes("TS-1")]));
}

void main();
"""
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "module": "commonjs",
        "moduleResolution": "node10",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": ["node"],
        "outDir": "built",
    },
    "include": ["*.ts", "shop"],
}
PYTHON = """
import json
import sys
from uuid import UUID

from shop import AuthenticatedClient, Client
from shop.api.auth import log_in, register_user
from shop.api.orders import create_order, export_orders, get_order, list_orders
from shop.models import (
    ErrorResponse, OrderCreate, OrderLineCreate, OrderRead, OrderStatus, PageOrderRead, PasswordGrant, Registration,
    TokenPair,
)
from shop.types import File

url, password = sys.argv[1:]
email = "python@shop.example"
register_user.sync(client=Client(url), body=Registration(email=email, password=password))
tokens = log_in.sync(client=Client(url), body=PasswordGrant(username=email, password=password))
assert isinstance(tokens, TokenPair)
client = AuthenticatedClient(url, tokens.access_token)
line = OrderLineCreate(sku="PEN", quantity=3, unit_price="1.5")
created = create_order.sync(client=client, body=OrderCreate(reference="PY-1", customer="Jane", lines=[line]))
assert isinstance(created, OrderRead)
page = list_orders.sync(client=client, status=OrderStatus.DRAFT, created_from=created.created_at)
assert isinstance(page, PageOrderRead)
missing = get_order.sync(UUID(int=0), client=client)
assert isinstance(missing, ErrorResponse)
file = export_orders.sync(client=client)
assert isinstance(file, File)
print(json.dumps([created.total, page.total, missing.error.code, b"PY-1" in file.payload.read()]))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return its output. Fail unless it succeeds."""
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def npm(missing_server: Callable[[str], None]) -> Path:
    """Return a folder with the npm packages, installed once."""
    if shutil.which("npm") is None:
        missing_server("npm is not installed: generated clients and linters need Node.js 20 or newer")
    manifest = json.dumps({"dependencies": NPM_PACKAGES})
    folder = cache_folder() / f"npm-{hashlib.sha256(manifest.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            (folder / "package.json").write_text(manifest)
            run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def service(project: Project, store: Store) -> Iterator[Service]:
    """Return a service with all optional parts."""
    with project.start({"DATABASE_URL": store.url}) as service:
        yield service


@pytest.fixture
def document(service: Service, tmp_path: Path) -> Path:
    """Return a file with the OpenAPI document."""
    path = tmp_path / "openapi.json"
    path.write_bytes(service.request("GET", "/openapi.json").content)
    return path


@pytest.mark.parametrize("name", SERVICES)
def test_linters_find_nothing(name: str, template: Path, npm: Path, tmp_path: Path) -> None:
    """Redocly's recommended rules and Spectral's OpenAPI rules pass without a warning."""
    service = render(template, tmp_path / "service", SERVICES[name])
    python = environment_of(service, newest_python()).python
    document = tmp_path / "openapi.json"
    document.write_text(run(python, "-c", PRINT_OPENAPI, cwd=service))
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    tools = npm / "node_modules" / ".bin"
    linted = run(tools / "redocly", "lint", "--extends", "recommended", document, cwd=tmp_path)
    assert "Your API description is valid" in linted
    assert "warning" not in linted.replace("Deprecation warning", "")
    run(tools / "spectral", "lint", "--fail-severity", "hint", "--ruleset", "rules.yaml", document, cwd=tmp_path)


@once_with_everything
def test_typescript_client(service: Service, document: Path, npm: Path, tmp_path: Path) -> None:
    """A TypeScript client compiles in strict mode and creates, lists and exports orders."""
    (tmp_path / "node_modules").symlink_to(npm / "node_modules")
    (tmp_path / "main.ts").write_text(TYPESCRIPT)
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    tools = npm / "node_modules" / ".bin"
    run(tools / "openapi-ts", "--input", document, "--output", "shop", cwd=tmp_path)
    run(tools / "tsc", "--project", ".", cwd=tmp_path)
    printed = run("node", "built/main.js", service.url, PASSWORD, cwd=tmp_path)
    assert json.loads(printed) == ["4.50", True, 1, "not_found", True]


@once_with_everything
def test_python_client(project: Project, service: Service, document: Path, tmp_path: Path) -> None:
    """A Python client generated as in the README has no warnings and strict types, and it works."""
    config = PYTHON_CONFIG.search((project.folder / "docs" / "extend.md").read_text())
    assert config
    (tmp_path / "config.yaml").write_text(config[1])
    options = ["--meta", "none", "--output-path", "shop", "--config", "config.yaml", "--fail-on-warning"]
    run("uvx", PYTHON_GENERATOR, "generate", "--path", document, *options, cwd=tmp_path)
    (tmp_path / "main.py").write_text(PYTHON)
    packages = [option for name in PYTHON_PACKAGES for option in ("--with", name)]
    python = ["uv", "run", "--no-project", "--isolated", *packages]
    # Skip the generator's own `client.py`, whose types are not strict.
    run(*python, "mypy", "--strict", "--follow-imports=silent", "main.py", "shop/api", "shop/models", cwd=tmp_path)
    printed = run(*python, "python", "main.py", service.url, PASSWORD, cwd=tmp_path)
    assert json.loads(printed) == ["4.50", 1, "not_found", True]
