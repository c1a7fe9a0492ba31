import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quickset import git
from quickset.templates.source import Source
from tests.cli.warm import WarmCommandLine

Run = Callable[..., subprocess.CompletedProcess[str]]

COPIER_YML = """\
_subdirectory: template
_templates_suffix: .jinja
_envops: {undefined: jinja2.StrictUndefined, trim_blocks: true, keep_trailing_newline: true}
_exclude: [.git, __pycache__]
project_name:
  type: str
  help: What is it called?
  default: My Service
  validator: "{% if not project_name[:1].isalpha() %}It starts with a letter.{% endif %}"
author_name: {type: str, default: "", validator: "{% if ',' in author_name %}No commas.{% endif %}"}
package_name: {type: str, default: app}
python_version: {type: str, choices: ["3.11", "3.12", "3.13", "3.14"], default: "3.11"}
example: {type: bool, default: true}
database: {type: str, choices: {"a file": sqlite, "a server": postgresql, nothing: none}, default: sqlite}
pool: {type: int, default: 5, when: "{{ database == 'postgresql' }}"}
extras: {type: str, multiselect: true, choices: [metrics, tracing], default: []}
docker: {type: bool, default: true}
slug: {type: str, when: false, default: "{{ project_name | lower }}"}
"""

TEMPLATE = {
    "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    ".env.example": "# settings\nENVIRONMENT=local\nSECRET_KEY=change-me\nTOKEN=change-me\nNOTE=change-me-not\n",
    ".gitignore": ".env\n",
    "pyproject.toml.jinja": '[project]\nname = "{{ slug }}"\nrequires-python = ">={{ python_version }}"\n',
    "{{ package_name }}/__init__.py": "",
    "{{ package_name }}/api.py.jinja": "{% if example %}\nimport orders\n{% endif %}\n",
    "{% if example %}{{ package_name }}{% endif %}/orders/router.py": "",
    "{% if database != 'none' %}migrations{% endif %}/env.py.jinja": "# {{ database }}\n",
    "{% if docker %}Dockerfile{% endif %}.jinja": "FROM scratch\n",
    "{% if 'metrics' in extras %}metrics.py{% endif %}.jinja": "",
    "run.sh": "#!/bin/sh\n",
}


def isolate(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Set the name and the email address of a user, and no other settings."""
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("GIT_", "COPIER_", "UV"))]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (home / ".gitconfig").write_text("[user]\nname = Jane Doe\nemail = jane@example.com\n")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a user's name and email address, and no other settings."""
    isolate(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands run."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def commit_all(folder: Path, message: str) -> str:
    """Commit everything and return the commit."""
    git.run("add", "--all", cwd=folder)
    git.run("commit", "--quiet", "--message", message, cwd=folder)
    return git.run("rev-parse", "HEAD", cwd=folder)


def set_version(folder: Path, version: str) -> None:
    (folder / "pyproject.toml").write_text(f'[project]\nname = "quickset"\nversion = "{version}"\n')


def release(checkout: Path, version: str) -> str:
    """Release a version and set the next development version."""
    marker = checkout / "template" / "VERSION"
    marker.write_text(version)
    set_version(checkout, version)
    commit = commit_all(checkout, f"Release {version}")
    marker.write_text(f"after {version}")
    set_version(checkout, f"{version[:-1]}{int(version[-1]) + 1}.dev0")
    commit_all(checkout, "Go on")
    return commit


def write_template(folder: Path) -> Path:
    folder.mkdir()
    (folder / "copier.yml").write_text(COPIER_YML)
    for name, text in TEMPLATE.items():
        file = folder / "template" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "template" / "run.sh").chmod(0o755)
    return folder


def make_checkout(folder: Path) -> Path:
    """Create a project like this one with a small template, and make its first commit."""
    write_template(folder)
    git.run("init", "--quiet", "--initial-branch=main", cwd=folder)
    set_version(folder, "0.1.0.dev0")
    commit_all(folder, "Start")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a project like this one, with a small template and no release."""
    return make_checkout(tmp_path / "checkout")


@pytest.fixture
def origin(checkout: Path) -> Source:
    """The small template."""
    return Source(checkout)


# The process is ready when it handles signals itself.
DRIVER = """
import signal, sys
from pathlib import Path
from quickset.templates import source
from quickset.__main__ import main
origin = source.Source(Path(sys.argv.pop(1)))
source.here = lambda: origin
take = signal.signal
take(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
def say(number, handler):
    take(number, handler)
    if number == signal.SIGTERM:
        print("ready", file=sys.stderr, flush=True)
signal.signal = say
main()
"""


@pytest.fixture
def command(checkout: Path) -> list[str]:
    """The command line with the small template. It prints `ready` to standard error first."""
    return [sys.executable, "-c", DRIVER, str(checkout)]


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmCommandLine]:
    """The command line, imported once."""
    with WarmCommandLine() as warm:
        yield warm


@pytest.fixture
def quickset(warm: WarmCommandLine, checkout: Path, work: Path) -> Run:
    """Run the command line with the small template, as a separate process without a terminal."""

    def run(*args: str, cwd: Path = work) -> subprocess.CompletedProcess[str]:
        return warm.run(checkout, args, cwd, os.environ)

    return run


@pytest.fixture
def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a fake `uv` on PATH."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        uv = folder / "uv"
        uv.write_text(f"#!/bin/sh\n{script}\n")
        uv.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def only_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Reduce PATH to the named programs."""

    def restrict(*names: str) -> None:
        folder = tmp_path / "only"
        folder.mkdir()
        for name in names:
            found = subprocess.run(["/bin/sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
            (folder / name).symlink_to(found.stdout.strip())
        monkeypatch.setenv("PATH", str(folder))

    return restrict


def leftovers(folder: Path) -> list[str]:
    """Return every temporary file of quickset below a folder."""
    return [path.name for path in folder.rglob(".quickset-*")]
