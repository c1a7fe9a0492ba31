"""The first request in the READMEs works."""

import json
import re
import subprocess

from tests.questions import REPOSITORY
from tests.services.behaviour.variants import AUTH_VARIANTS, where
from tests.services.running import Project, Store

FIRST_REQUEST = re.compile(r"In another terminal.*?```sh\n(.*?)```", re.DOTALL)

without_users = where(lambda variant: variant.database == "none")
with_users = where(lambda variant: variant.database == "sqlite", AUTH_VARIANTS[:1])


def first_request(readme: str) -> str:
    """Return the commands of a README."""
    found = FIRST_REQUEST.search(readme)
    assert found
    return found[1]


def answer_of(project: Project, settings: dict[str, str], commands: str) -> str:
    """Return the output of commands that are sent to a new service."""
    with project.start(settings) as service:
        commands = commands.replace("http://127.0.0.1:8000", service.url)
        commands = commands.replace("uv run python", str(project.python))
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, check=False
        )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@with_users
def test_register_sign_in_and_order(project: Project, own_store: Store) -> None:
    """The commands register a user, sign in and create an order, and both READMEs contain the same ones."""
    commands = first_request((project.folder / "README.md").read_text())
    assert first_request((REPOSITORY / "README.md").read_text()) == commands
    answer = answer_of(project, {"DATABASE_URL": own_store.url}, commands)
    user, order = answer.split("}{", 1)
    assert json.loads(user + "}")["email"] == "jane@example.com"
    assert json.loads("{" + order)["total"] == "19.98"


@without_users
def test_order(project: Project) -> None:
    """Without users the first request creates an order."""
    commands = first_request((project.folder / "README.md").read_text())
    assert json.loads(answer_of(project, {}, commands))["total"] == "19.98"
