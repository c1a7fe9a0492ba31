"""Every row of the matrix is rendered, checked, tested on its real database, started, called and stopped."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from openapi_spec_validator import validate

from quickset.templates.presets import PRESETS
from tests.questions import read_questions
from tests.rendering import read_tree, render
from tests.services.environments import Environment, environment_of, newest_python, python_for
from tests.services.inspection import inspect, python_digest
from tests.services.matrix import Row, build_rows, missing_answers, missing_pairs
from tests.services.python314 import MissingPythonError, debian_environment_of
from tests.services.running import Project, Variant
from tests.services.servers import Kind, MissingServerError, Server
from tests.services.trial import Trial

QUESTIONS = read_questions()
ROWS = build_rows(QUESTIONS)
PRESET_ROWS = {"defaults", *(f"preset-{name}" for name in PRESETS)}
# Coverage doubles the time of a suite: `.ci/run` measures the presets, `.ci/full` every row.
EVERY_COVERAGE = bool(os.environ.get("QUICKSET_TEST_COVERAGE"))
# In `.ci/full` a missing Python comes from Debian. In `.ci/run` the presets run on it.
EVERY_PYTHON = bool(os.environ.get("QUICKSET_TEST_EVERYTHING"))


def test_every_choice_is_in_a_row() -> None:
    """Every choice of copier.yml is in a row."""
    assert missing_answers(QUESTIONS, ROWS) == []


def test_every_pair_of_answers_is_in_a_row() -> None:
    """Every pair of answers is in a row."""
    assert missing_pairs(QUESTIONS, ROWS) == []


def test_rows_have_names_of_their_own() -> None:
    """Rows have unique names that work in any shell, so that a failing row can be run again."""
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and not set(name) & set(" '\"$*[]=()") for name in names)


def runs() -> list[ParameterSet]:
    """Return the rows, or only the presets in the fast run."""
    return [pytest.param(row, id=row.name, marks=() if row.name in PRESET_ROWS else pytest.mark.ci) for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_text(row: Row, trial: Trial, template: Path) -> None:
    """The files of the service can be parsed, are formatted, and pass the linter with its own settings."""
    with trial.phase("render"):
        render(template, trial.folder, row.answers)
    with trial.phase("text"):
        tree = read_tree(trial.folder)
        trial.git("init", "--quiet")
        trial.git("add", "--all")
        faults = inspect(tree)
        assert not faults, "\n".join(faults)
        ignored = tree.keys() - set(trial.git("ls-files", "-z").split("\0"))
        assert not ignored, f"the service ignores its own files: {sorted(ignored)}"
    ruff = Path(sys.executable).with_name("ruff")
    with trial.phase("format"):
        trial.run(ruff, "format", "--check", "--diff", ".")
    with trial.phase("lint"):
        trial.run(ruff, "check", ".")
    trial.fail_on_faults(row)


@pytest.mark.parametrize("row", runs())
def test_row(
    row: Row,
    trial: Trial,
    template: Path,
    server_of: Callable[[Kind], Server],
    missing_server: Callable[[str], None],
    first_of: Callable[[str, str], str],
) -> None:
    """The service is clean, passes its tests, starts, responds, and stops on request."""
    with trial.phase("render"):
        render(template, trial.folder, row.answers)
    trial.fail_on_faults(row)
    oldest = str(row["python_version"])
    runs_on = python_for(oldest)
    with trial.phase("install"):
        environment = environment_of(trial.folder, runs_on or newest_python())
    trial.fail_on_faults(row)
    trial.same_as = first_of(python_digest(trial.folder), row.name)
    if trial.same_as:
        return
    trial.git("init", "--quiet")
    trial.git("add", "--all")
    check(trial, environment, oldest)
    to_run = runs_on is not None or EVERY_PYTHON
    if not to_run:
        trial.not_run = f"needs Python {oldest}, which is not installed"
    else:
        with ExitStack() as stack:
            try:
                if runs_on is None:
                    environment = debian_environment_of(trial.folder)
                url = database_url(row, server_of, stack, trial)
            except (MissingPythonError, MissingServerError) as error:
                trial.not_run = str(error)
            else:
                run(trial, row, environment, url)
    with trial.phase("tidy"):
        left = trial.git("ls-files", "--others", "--exclude-standard", "--modified")
        assert not left, f"the run changed files, or left files that .gitignore does not list:\n{left}"
    trial.fail_on_faults(row)
    if to_run and trial.not_run:
        missing_server(trial.not_run)


def database_url(row: Row, server_of: Callable[[Kind], Server], stack: ExitStack, trial: Trial) -> str:
    """Return the URL of a new database for the service, or None if it needs no server."""
    database = row["database"]
    if database not in {"postgresql", "mysql"}:
        return ""
    kind: Kind = "postgresql" if database == "postgresql" else "mysql"
    server = server_of(kind)
    trial.server = f"{kind}: {server.origin}"
    return server.url(stack.enter_context(server.database()))


def check(trial: Trial, environment: Environment, oldest: str) -> None:
    """Run the checks that need the service's dependencies but not a running service."""
    with trial.phase("types"):
        trial.check_types(environment, oldest)
    with trial.phase("contracts"):
        trial.run(environment.program("lint-imports"))
    with trial.phase("commands"):
        trial.run(environment.program("just"), "--summary")


def run(trial: Trial, row: Row, environment: Environment, url: str) -> None:
    """Test the service as its owner would, then start, call and stop it."""
    package = str(row["package_name"])
    with trial.phase("tests"):
        variables = {"TEST_DATABASE_URL": url} if url else {}
        coverage = ["--cov"] if row.name in PRESET_ROWS or EVERY_COVERAGE else []
        trial.run(environment.python, "-m", "pytest", "--quiet", *coverage, **variables)
    settings = {"DATABASE_URL": url, "DATABASE_PASSWORD": ""} if url else {}
    with trial.phase("start"):
        trial.run(environment.python, "-m", package, "dotenv")
        # The service checks its settings at its start, too.
        if row.name in PRESET_ROWS:
            trial.run(environment.python, "-m", package, "check", **settings)
        if row["database"] != "none":
            trial.run(environment.python, "-m", package, "migrate", **settings)
        call(Project(trial.folder, environment.python, variant_of(row)), package, settings)


def variant_of(row: Row) -> Variant:
    """Return the variant of the row's service."""
    return Variant(
        layout="layered" if row["layout"] == "layered" else "feature",
        database=row["database"],  # type: ignore[arg-type]
        error_format="problem" if row["error_format"] == "problem" else "envelope",
        # Not every row has this answer.
        parts=(("auth", "jwt"),) if row["database"] != "none" and row.answers.get("auth") == "jwt" else (),
    )


def call(project: Project, package: str, settings: dict[str, str]) -> None:
    """Start the service, call all routes that every service has, and stop it."""
    with project.start(settings, module=package) as service:
        ready = service.request("GET", "/health/ready")
        assert ready.status_code == 200, ready.text
        document = service.request("GET", "/openapi.json").json()
        validate(document)
        if project.variant.has_auth:
            assert service.failure(service.request("GET", "/api/v1/users/me"), 401).code == "not_authenticated"
            service.sign_in()
            assert service.client.get("/api/v1/users/me").json()["role"] == "user"
        if "/api/v1/orders" in document["paths"]:
            created = service.create_order("A-1")
            assert created.status_code == 201, created.text
            assert service.references() == {"A-1"}
        service.failure(service.request("GET", "/api/v1/nothing"), 404)
        service.terminate()
        code = service.wait()
        # uvicorn ends with the signal that it received, after everything is closed.
        assert code == -signal.SIGTERM, "\n".join([f"exit {code}", *service.lines])
