"""A small template with releases, and services created from it that live in a user's repository."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from quickset.commands import update as engine
from quickset.commands.new import Request as NewRequest
from quickset.commands.new import new
from quickset.commands.update import Request, UpdateResult
from quickset.errors import QuicksetError
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.templates.source import Source

Content = str | bytes | None
"""The content of a file. None deletes the file."""

COPIER_YML = """\
_subdirectory: template
_templates_suffix: .jinja
_envops: {undefined: jinja2.StrictUndefined, trim_blocks: true, lstrip_blocks: true, keep_trailing_newline: true}
_exclude: [.git, __pycache__]
_skip_if_exists: [CHANGELOG.md]
project_name:
  type: str
  default: My Service
  validator: "{% if not project_name[:1].isalpha() %}It starts with a letter.{% endif %}"
package_name: {type: str, default: app}
layout: {type: str, choices: [feature, layered], default: feature}
docker: {type: bool, default: false}
cache: {type: str, choices: [none, memory, redis], default: none}
slug: {type: str, when: false, default: "{{ project_name | lower | replace(' ', '-') }}"}
"""

PYPROJECT = """\
[project]
name = "{{ slug }}"
version = "0.1.0"
description = "A service."
requires-python = ">=3.11"
dependencies = [
  "alembic>=1.20,<2",
  "fastapi>=0.165,<0.166",
  "orjson>=3.13,<4",
{% if cache == "redis" %}
  "redis>=6,<7",
{% endif %}
  "structlog>=26.1,<27",
  "uvicorn>=0.54,<0.55",
]

[dependency-groups]
dev = [
  "pytest>=9.2,<10",
  "ruff>=0.17.5,<0.18",
]

[tool.ruff]
line-length = 120
"""

MAIN = '''\
"""The application."""

from app.core.settings import Settings


def create_app(settings: Settings) -> dict[str, object]:
    """Build the application."""
    return {"title": settings.title, "debug": settings.debug, "middleware": middleware(settings), "routes": routes()}


def middleware(settings: Settings) -> list[str]:
    """Name what every request passes, the outermost first, and leave out what the settings switch off for good."""
    return ["errors", "context", "access log" if settings.access_log else "", "security headers", "cors", "size limit"]


def routes() -> list[str]:
    """Name the routes."""
    return ["/health/live", "/health/ready", "/orders", "/orders/{reference}", "/reports/{year}/{month}", "/metrics"]


def shut_down(app: dict[str, object]) -> None:
    """Leave nothing open."""
    app.clear()
'''

SETTINGS = '''\
"""The settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What the environment decides."""

    title: str = "A service"
    debug: bool = False
    access_log: bool = True
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    timeout: float = 30.0
'''

ORDERS = '''\
"""Orders."""

TAX = 19


def total(prices: list[int]) -> int:
    """Add up."""
    return sum(prices)


def with_tax(price: int) -> int:
    """Add the tax."""
    return price * (100 + TAX) // 100


def describe(reference: str) -> str:
    """Say which order it is."""
    return f"order {reference}"
'''

ROUTER = '''\
"""The routes of orders."""

PREFIX = "/orders"


def list_orders() -> list[str]:
    """List them."""
    return []


def read_order(reference: str) -> str:
    """Read one."""
    return reference


def delete_order(reference: str) -> None:
    """Delete one."""
'''

NUMBERS = "".join(f"line {number:02}\n" for number in range(1, 61))
WINDOWS = "".join(f"row {number:02}\r\n" for number in range(1, 31))
UNENDED = "\n".join(f"item {number:02}" for number in range(1, 21))
BLOCKS = "".join(f"- name: block\n  run: |\n    set -e\n    work\n  number: {number}\n\n" for number in range(1, 9))
LATIN = "".join(f"Stück {number:02}: Größe\n" for number in range(1, 21)).encode("latin-1")
PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00" + bytes(range(256)) * 4
SCRIPT = '#!/bin/sh\nset -e\necho "starting"\nexec python -m app\n'
UNICODE = "größe/naïve ☃.txt"

TEMPLATE: Mapping[str, str | bytes] = {
    "{{ _copier_conf.answers_file }}.jinja": "# Written by quickset.\n{{ _copier_answers | to_nice_yaml -}}",
    ".env.example": "# settings\nSECRET_KEY=change-me\n",
    ".gitignore": ".env\n.venv/\n*.log\n",
    "pyproject.toml.jinja": PYPROJECT,
    "README.md.jinja": "# {{ project_name }}\n\nA service.\n\n## Start\n\nRun it.\n\n## Test\n\nTest it.\n",
    "CHANGELOG.md": "# Changes\n\n- Start\n",
    "{{ package_name }}/__init__.py": "",
    "{{ package_name }}/main.py.jinja": MAIN.replace("from app.", "from {{ package_name }}."),
    "{{ package_name }}/core/__init__.py": "",
    "{{ package_name }}/core/settings.py": SETTINGS,
    "{{ package_name }}/core/{% if cache != 'none' %}cache.py{% endif %}.jinja": 'CACHE = "{{ cache }}"\n',
    "{{ package_name }}/orders/__init__.py": "",
    "{{ package_name }}/orders/service.py": ORDERS,
    "{{ package_name }}/orders/router.py": ROUTER,
    "{% if docker %}Dockerfile{% endif %}.jinja": "FROM scratch\nCOPY . /{{ slug }}\n",
    "numbers.txt": NUMBERS,
    "windows.txt": WINDOWS,
    "unended.txt": UNENDED,
    "blocks.yaml": BLOCKS,
    "latin.txt": LATIN,
    "logo.png": PICTURE,
    "run.sh": SCRIPT,
    UNICODE: NUMBERS,
}

MAIN_PY = "{{ package_name }}/main.py.jinja"
SETTINGS_PY = "{{ package_name }}/core/settings.py"
SERVICE_PY = "{{ package_name }}/orders/service.py"
ROUTER_PY = "{{ package_name }}/orders/router.py"

_MARKER = re.compile(rb"^(<{7}|>{7}|\|{7})(?: |$)|^={7}\r?$", re.MULTILINE)


def git(*args: str, cwd: Path, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run git with the settings of the user's home, and return its output."""
    done = subprocess.run(
        ["git", *args],
        cwd=cwd,
        env=os.environ | dict(env or {}),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)}: {done.stderr or done.stdout}")
    return done.stdout


def write(folder: Path, files: Mapping[str, Content]) -> None:
    """Write files below a folder. An existing file keeps its mode, and an empty folder is removed."""
    for name, content in files.items():
        file = folder / name
        if content is None:
            file.unlink()
            for parent in Path(name).parents[:-1]:
                if not any((folder / parent).iterdir()):
                    (folder / parent).rmdir()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def set_version(folder: Path, version: str) -> None:
    """Set the version of the project that contains the template."""
    (folder / "pyproject.toml").write_text(f'[project]\nname = "quickset"\nversion = "{version}"\n')


def make_origin(folder: Path, config: str = COPIER_YML, template: Mapping[str, str | bytes] = TEMPLATE) -> Path:
    """Create a project with a template and its first release, 0.1.0."""
    folder.mkdir(parents=True)
    (folder / "copier.yml").write_text(config)
    write(folder / "template", template)
    if "run.sh" in template:
        (folder / "template" / "run.sh").chmod(0o755)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    release(folder, "0.1.0")
    return folder


def release(
    origin: Path, version: str, changes: Mapping[str, Content] | None = None, root: Mapping[str, Content] | None = None
) -> None:
    """Release a version of the template.

    Args:
        origin: The project.
        version: Its new version.
        changes: Files of the template.
        root: Files next to the template, such as `copier.yml`.
    """
    write(origin / "template", changes or {})
    write(origin, root or {})
    set_version(origin, version)
    # Files that the template ignores in services belong to the release.
    git("add", "--all", "--force", cwd=origin)
    git("commit", "--quiet", "--no-gpg-sign", "--message", f"Release {version}", cwd=origin)


def make_service(origin: Path, folder: Path, ref: str = "0.1.0", data: Mapping[str, Any] | None = None) -> Path:
    """Create a service from a release, with a first commit if it is not in a repository yet."""
    new(NewRequest(path=folder, ref=ref, data=data or {}, lock=False), template_source=Source(origin))
    return folder


@dataclass(frozen=True)
class Snapshot:
    """The state that an update must preserve or report."""

    head: str
    index: dict[str, str]
    """Tag, mode, object and stage by path and stage."""
    files: dict[str, tuple[int, bytes]]
    """Mode and content of every tracked, untracked and ignored file."""

    @classmethod
    def of(cls, top: Path) -> "Snapshot":
        """Take a snapshot of a work tree."""
        head = git("symbolic-ref", "--quiet", "HEAD", cwd=top, check=False) + git("rev-parse", "HEAD", cwd=top)
        index = {}
        for entry in filter(None, git("ls-files", "--stage", "-t", "-z", cwd=top).split("\0")):
            details, name = entry.split("\t", 1)
            index[f"{name} {details[-1]}"] = details
        return cls(head, index, dict(_files(top)))

    def differences(self, other: "Snapshot") -> list[str]:
        """Return the differences in a readable form."""
        found = [] if self.head == other.head else [f"HEAD: {self.head!r} != {other.head!r}"]
        found += [f"index {name}" for name in sorted(_differing(self.index, other.index))]
        return found + [f"file {name}" for name in sorted(_differing(self.files, other.files))]


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterable[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _files(top: Path) -> Iterable[tuple[str, tuple[int, bytes]]]:
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*names, *links):
            file = Path(folder, name)
            if name == ".git":
                continue
            mode = file.lstat().st_mode
            content = os.fsencode(file.readlink()) if stat.S_ISLNK(mode) else file.read_bytes()
            yield file.relative_to(top).as_posix(), (mode, content)


def same(one: Snapshot, other: Snapshot) -> None:
    """Fail with the differences between two snapshots."""
    assert one.differences(other) == []


def has_markers(content: bytes) -> bool:
    """Return whether a file contains conflict markers."""
    return _MARKER.search(content) is not None


@dataclass
class Lab:
    """A service in a user's repository, and its template."""

    origin: Path
    top: Path
    """The work tree."""
    path: Path
    """The service."""
    version: str = "0.1.0"
    released: list[str] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """The source of the template."""
        return Source(self.origin)

    @property
    def git_dir(self) -> Path:
        """The git directory of this work tree."""
        return Path(git("rev-parse", "--absolute-git-dir", cwd=self.top).strip())

    @property
    def journal(self) -> Path:
        """The journal, which exists until an update is finished."""
        return self.git_dir / "quickset" / "journal.json"

    def git(self, *args: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run git in the work tree."""
        return git(*args, cwd=self.top, check=check, env=env)

    def write(self, files: Mapping[str, Content]) -> None:
        """Write files of the service."""
        write(self.path, files)

    def replace(self, name: str, *pairs: tuple[str, str]) -> None:
        """Replace text in a file of the service, each piece once."""
        text = self.read(name)
        for old, new_text in pairs:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new_text)
        self.write({name: text})

    def commit(self, files: Mapping[str, Content] | None = None, message: str = "Mine") -> str:
        """Write files and commit everything, as the user does."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def release(
        self, changes: Mapping[str, Content] | None = None, *, root: Mapping[str, Content] | None = None
    ) -> str:
        """Release the next minor version of the template."""
        major, minor, patch = self.version.split(".")
        self.version = f"{major}.{int(minor) + 1}.{patch}"
        release(self.origin, self.version, changes, root)
        return self.version

    def request(self, **options: Any) -> Request:
        """Return the update request."""
        merged: dict[str, Any] = {"path": self.path, "lock": False} | options
        return Request(**merged)

    def update(self, **options: Any) -> UpdateResult:
        """Update the service."""
        return engine.update(self.request(**options), template_source=self.source)

    def preview(self, **options: Any) -> UpdateResult:
        """Return the preview of an update."""
        return engine.preview(self.request(**options), template_source=self.source)

    def resume(self) -> UpdateResult:
        """Continue an update."""
        return engine.resume(self.path, lock=False)

    def abort(self) -> UpdateResult:
        """Undo an update."""
        return engine.abort(self.path)

    def read(self, name: str) -> str:
        """Read a file of the service with its line endings unchanged."""
        return (self.path / name).read_bytes().decode()

    def read_bytes(self, name: str) -> bytes:
        """Read a file of the service."""
        return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Return whether the service has a file."""
        return os.path.lexists(self.path / name)

    def snapshot(self) -> Snapshot:
        """Take a snapshot of the repository."""
        return Snapshot.of(self.top)

    def stages(self) -> dict[str, set[int]]:
        """Return the unmerged paths with their stages."""
        found: dict[str, set[int]] = {}
        for entry in filter(None, self.git("ls-files", "--unmerged", "-z").split("\0")):
            details, name = entry.split("\t", 1)
            found.setdefault(name, set()).add(int(details.split()[2]))
        return found

    def staged(self, name: str) -> bytes:
        """Return a file of the service as it is in the index."""
        at = (self.path / name).relative_to(self.top).as_posix()
        done = subprocess.run(["git", "cat-file", "blob", f":{at}"], cwd=self.top, capture_output=True, check=True)
        return done.stdout

    def recorded(self) -> dict[str, Any]:
        """Return the recorded answers of the service."""
        loaded: dict[str, Any] = yaml.safe_load(self.read(ANSWERS_FILE))
        return loaded

    def at(self) -> str:
        """Return the recorded version."""
        return str(self.recorded()["_commit"]).removeprefix("v")

    def dependencies(self) -> list[str]:
        """Return the dependencies of the service."""
        found: list[str] = tomllib.loads(self.read("pyproject.toml"))["project"]["dependencies"]
        return found

    def assert_clean(self, result: UpdateResult) -> None:
        """Require a merge without conflicts: staged, recorded and not committed."""
        assert result.conflicts == ()
        assert self.stages() == {}
        assert self.at() == self.version
        assert not self.journal.exists()
        assert self.staged(ANSWERS_FILE) == self.read_bytes(ANSWERS_FILE)

    def assert_conflict(self, result: UpdateResult, *names: str) -> None:
        """Require conflicts in exactly these files, and no new recorded version."""
        assert sorted(result.conflicts) == sorted(names)
        below = self.path.relative_to(self.top).as_posix()
        assert sorted(self.stages()) == sorted(name if below == "." else f"{below}/{name}" for name in names)
        assert self.at() != self.version
        assert self.journal.is_file()


def kinds(result: UpdateResult) -> dict[str, str]:
    """Return the kind of change for each file except the answers file."""
    return {change.path: change.kind for change in result.changes if not change.path.endswith(ANSWERS_FILE)}


def markers(text: str, sign: str) -> list[str]:
    """Return the conflict marker lines that start with this sign."""
    return [line for line in text.splitlines() if line.startswith(sign * 7)]


def refusal(action: Callable[[], object]) -> QuicksetError:
    """Require that the update is refused, and return the error."""
    try:
        action()
    except QuicksetError as error:
        return error
    raise AssertionError("it was not refused")


def copy(folder: Path, to: Path) -> Path:
    """Copy a folder with its links and timestamps."""
    shutil.copytree(folder, to, symlinks=True)
    return to
