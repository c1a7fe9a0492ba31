"""copier.yml keeps its promises: nothing to trust, names that shadow nothing, answers that arrive as given."""

import json
import keyword
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from quickset.locking import lock
from tests.questions import REPOSITORY, Answer, only_asked, read_copier_yml, read_questions
from tests.rendering import NEEDS_TRUST, RenderService, read_tree
from tests.services.environments import environment_of, newest_python
from tests.services.inspection import name_faults

PACKAGE_FORM = re.compile(r"[a-z][a-z0-9_]{0,19}")
# What Jinja, TOML, YAML, Markdown, Python and a shell could each take for its own.
HOSTILE = (
    """{{ 7 * 7 }} {% raw %} {# #} "quoted" 'single' \\n \\u0041 #tag & *star* `tick` $HOME %s: - [x] <b> Zoë 🚀"""
)
LIST_TOP_LEVEL_NAMES = """
import json
from importlib.metadata import packages_distributions
print(json.dumps(sorted(packages_distributions())))
"""


def reserved_names() -> set[str]:
    """Return what a package may not be called."""
    return set(yaml.safe_load(read_copier_yml()["reserved_names"]["default"]))


def dependency_names() -> list[str]:
    """Return what a service may not be called."""
    names: list[str] = yaml.safe_load(read_copier_yml()["dependency_names"]["default"])
    return names


def test_nothing_needs_trust() -> None:
    """No task, migration or extension: Copier asks nobody to trust this template."""
    assert not read_copier_yml().keys() & NEEDS_TRUST


def test_misspelt_variables_fail() -> None:
    """A name that is not there ends the rendering; it does not become nothing."""
    assert read_copier_yml()["_envops"]["undefined"] == "jinja2.StrictUndefined"


def test_template_can_be_checked_out_on_windows() -> None:
    """The names of the template's files are names everywhere."""
    paths = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "template").rglob("*")]
    assert [f"{path}: {fault}" for path in paths for fault in name_faults(path)] == []


def test_package_shadows_no_keyword_and_no_standard_module() -> None:
    """Every name of Python's own that would pass as a package name is reserved."""
    own = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names}
    missing = {name for name in own if PACKAGE_FORM.fullmatch(name)} - reserved_names()
    assert missing == set()


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mysql"])
def test_package_shadows_no_dependency(database: str, render_service: RenderService) -> None:
    """Every module that is installed for a service or its tests is reserved."""
    service = render_service({"database": database})
    python = environment_of(service, newest_python()).python
    listed = subprocess.run([python, "-c", LIST_TOP_LEVEL_NAMES], capture_output=True, text=True, check=True).stdout
    missing = {name for name in json.loads(listed) if PACKAGE_FORM.fullmatch(name)} - reserved_names()
    assert sorted(missing) == []


def test_service_is_called_as_no_dependency(render_service: RenderService, tmp_path: Path) -> None:
    """Every distribution that a service locks is reserved: uv locks no project that depends on its own name."""
    requirements: set[str] = set()
    for database in ("sqlite", "postgresql", "mysql"):
        optional: dict[str, Answer] = {"websockets": True, "streaming": True, "http_client": True, "cache": "memory"}
        service = render_service({"database": database, **optional})
        project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
        requirements |= {*project["project"]["dependencies"], *project["dependency-groups"]["dev"]}
    listed = json.dumps(sorted(requirements))
    union = f'[project]\nname = "union"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = {listed}\n'
    (tmp_path / "pyproject.toml").write_text(union, encoding="utf-8")
    assert lock(tmp_path) is None
    locked = tomllib.loads((tmp_path / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert sorted({package["name"] for package in locked} - {"union"} - set(dependency_names())) == []


def test_dependency_names_are_names() -> None:
    """Each entry is a normalized name, so that it can equal a service's, and the list stays sorted."""
    names = dependency_names()
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []
    assert names == sorted(set(names))


def test_package_shadows_no_folder(render_service: RenderService) -> None:
    """A package is not called as something else at the top of a service."""
    tree = read_tree(render_service({"package_name": "a"}))
    tops = {path.partition("/")[0].removesuffix(".py") for path in tree} - {"a"}
    assert {name for name in tops if PACKAGE_FORM.fullmatch(name)} - reserved_names() == set()


def test_reserved_names_are_names() -> None:
    """The list holds nothing that the pattern refuses anyway, and stays sorted."""
    names = yaml.safe_load(read_copier_yml()["reserved_names"]["default"])
    assert [name for name in names if not PACKAGE_FORM.fullmatch(name)] == []
    assert names == sorted(set(names))


def test_answers_file_records_what_was_asked(render_service: RenderService) -> None:
    """Every answer is on record, derived facts are not."""
    given: dict[str, Answer] = {
        "project_name": "Tea House",
        "package_name": "tea",
        "database": "postgresql",
        "docker": False,
    }
    service = render_service(given)
    recorded = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    asked = {question.name: question.default for question in read_questions()}
    assert {name: answer for name, answer in recorded.items() if not name.startswith("_")} == asked | given


def test_answers_file_leaves_out_what_was_not_asked(render_service: RenderService) -> None:
    """A question that another answer rules out is not on record, so that a later `add` meets it for the first time."""
    service = render_service({"database": "none"})
    recorded = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    asked = {question.name: question.default for question in read_questions()} | {"database": "none"}
    assert {name: answer for name, answer in recorded.items() if not name.startswith("_")} == only_asked(
        read_questions(), asked
    )
    assert "auth" not in recorded


def test_texts_arrive_as_they_were_given(render_service: RenderService) -> None:
    """No answer is taken for code by a format that it is written in."""
    author = HOSTILE.translate({ord(character): None for character in "<>,"})
    answers: dict[str, Answer] = {"description": HOSTILE, "author_name": author, "author_email": "a.b+c@example.org"}
    service = render_service(answers)
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == HOSTILE
    assert project["authors"] == [{"name": author, "email": "a.b+c@example.org"}]
    recorded = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: recorded[name] for name in answers} == answers
    for path in service.rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), path, "exec")
