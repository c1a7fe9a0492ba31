"""A secret scanner finds none in the first commit of a service."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.questions import Answer
from tests.rendering import render

EVERYTHING: dict[str, Answer] = {"cache": "memory", "http_client": True, "streaming": True, "websockets": True}
GIT_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def commit(folder: Path) -> None:
    """Commit all files of a folder."""
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=Start"]):
        author = ["-c", "user.name=Jane", "-c", "user.email=jane@example.com"]
        subprocess.run(["git", *author, *command], cwd=folder, env=os.environ | GIT_SETTINGS, check=True)


def scan(folder: Path) -> subprocess.CompletedProcess[str]:
    """Return the findings of gitleaks in the commits of a folder."""
    command = ["gitleaks", "git", "--no-banner", "--no-color", "--verbose", str(folder)]
    return subprocess.run(command, env=os.environ | GIT_SETTINGS, capture_output=True, text=True, check=False)


@pytest.mark.full
def test_no_secret_is_committed(template: Path, tmp_path: Path, missing_server: Callable[[str], None]) -> None:
    """The scanner finds no secret in new services, and it finds a planted one."""
    if not shutil.which("gitleaks"):
        missing_server("gitleaks is not installed")
    services, planted = tmp_path / "services", tmp_path / "planted"
    for database in ("sqlite", "postgresql", "mysql", "none"):
        render(template, services / database, EVERYTHING | {"database": database})
    commit(services)
    scanned = scan(services)
    assert scanned.returncode == 0, scanned.stdout

    planted.mkdir()
    key = "0123456789abcdef" * 2
    (planted / "settings.py").write_text(f'SECRET_KEY = "{key}"\n')
    commit(planted)
    assert scan(planted).returncode == 1
