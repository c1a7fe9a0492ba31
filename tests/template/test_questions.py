"""copier.yml requires no trust, shadows no names and keeps answers as given."""

import keyword
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from quickset.locking import lock
from quickset.templates.source import Source
from scripts.reserved_names import PACKAGE_FORM, reserved_names, with_block, written_names
from tests.questions import REPOSITORY, Answer, only_asked, read_copier_yml, read_questions, read_recorded
from tests.rendering import NEEDS_TRUST, RenderService, render
from tests.services.inspection import name_faults
from tests.template.releases import checkout, variants

# Characters with a meaning in Jinja, TOML, YAML, Markdown, Python or a shell.
HOSTILE = (
    """{{ 7 * 7 }} {% raw %} {# #} "quoted" 'single' \\n \\u0041 #tag & *star* `tick` $HOME %s: - [x] <b> Zoë 🚀"""
)


def test_nothing_needs_trust() -> None:
    """The template has no tasks, migrations or extensions, so Copier requires no trust."""
    assert not read_copier_yml().keys() & NEEDS_TRUST


def test_misspelt_variables_fail() -> None:
    """An undefined variable stops the rendering instead of becoming empty."""
    assert read_copier_yml()["_envops"]["undefined"] == "jinja2.StrictUndefined"


def test_template_can_be_checked_out_on_windows() -> None:
    """The template's file names are valid on every platform."""
    paths = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "template").rglob("*")]
    assert [f"{path}: {fault}" for path in paths for fault in name_faults(path)] == []


def test_questions_come_first() -> None:
    """copier.yml starts with the questions. Derived answers, settings and the generated block follow."""
    asked = {question.name for question in read_questions()}
    written = re.findall(r"^(\w+|<<):", (REPOSITORY / "copier.yml").read_text(encoding="utf-8"), re.MULTILINE)
    first = [name for name in written if name not in read_recorded()][: len(asked)]
    assert set(first) == asked
    assert written[-1] == "<<"


def test_copier_reads_the_reserved_names_first() -> None:
    """The lists at the end of the file are available to the questions."""
    assert list(read_copier_yml())[:2] == ["dependency_names", "reserved_names"]


def test_reserved_names_are_fresh(tmp_path: Path) -> None:
    """The generated block has each keyword, module, dependency and folder that is not a valid service name."""
    written = written_names()
    missing = {answer: sorted(names - written[answer]) for answer, names in reserved_names(tmp_path).items()}
    assert missing == dict.fromkeys(missing, []), "run: uv run python -m scripts.reserved_names"


def test_reserved_names_are_as_the_script_writes_them() -> None:
    """The generated block has no manual edits."""
    text = (REPOSITORY / "copier.yml").read_text(encoding="utf-8")
    assert text == with_block(text, written_names())


def test_package_shadows_no_keyword_and_no_standard_module() -> None:
    """Every valid package name that is a name of the running Python is reserved."""
    own = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names}
    assert {name for name in own if PACKAGE_FORM.fullmatch(name)} - written_names()["reserved_names"] == set()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("Orders API", "orders-api"),
        ("FastAPI", "fastapi-service"),
        ("An.Odd_Name", "an-odd-name"),
        ("Ast Serialize", "ast-serialize-service"),
    ],
)
def test_distribution_is_called_as_no_dependency(
    name: str, distribution: str, render_service: RenderService, tmp_path: Path
) -> None:
    """A service with the name of a dependency gets a suffix in its distribution name, so that uv can lock it."""
    service = render_service({"project_name": name})
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == distribution
    assert lock(service) is None


def test_suffixed_names_are_free() -> None:
    """No dependency has a name that the suffix would give to another one."""
    names = written_names()["dependency_names"]
    assert {f"{name}-service" for name in names} & names == set()


def test_answers_and_names_of_the_last_release_stay(template: Path, tmp_path: Path) -> None:
    """A service of the last release keeps its recorded answers and its distribution name in an update."""
    version, commit = next(iter(Source(REPOSITORY).releases().items()))
    released = checkout(commit, tmp_path / version)
    for number, answers in enumerate(variants(read_questions(released))):
        given = {**answers, "project_name": "Coverage of Orders"}
        before = render(released, tmp_path / f"{number}-before", given)
        after = render(template, tmp_path / f"{number}-after", given)
        recorded = [yaml.safe_load((each / ".copier-answers.yml").read_text("utf-8")) for each in (before, after)]
        assert {name: recorded[1].get(name) for name in given} == {name: recorded[0].get(name) for name in given}
        projects = [tomllib.loads((each / "pyproject.toml").read_text(encoding="utf-8")) for each in (before, after)]
        assert projects[0]["project"]["name"] == projects[1]["project"]["name"] == "coverage-of-orders"


def test_answers_file_records_what_was_asked(render_service: RenderService) -> None:
    """Every answer is recorded, including those without a question. Derived facts are not."""
    given: dict[str, Answer] = {
        "project_name": "Tea House",
        "package_name": "tea",
        "database": "postgresql",
        "docker": False,
    }
    service = render_service(given)
    recorded = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    asked = {question.name: question.default for question in read_questions()} | {"amounts": "numeric"}
    assert {name: answer for name, answer in recorded.items() if not name.startswith("_")} == asked | given


def test_answers_file_leaves_out_what_was_not_asked(render_service: RenderService) -> None:
    """A question that another answer excludes is not recorded, so that a later `add` asks it for the first time."""
    service = render_service({"database": "none"})
    recorded = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    asked = {question.name: question.default for question in read_questions()} | {"database": "none"}
    answers = {name: answer for name, answer in recorded.items() if not name.startswith("_")}
    assert {name: answers[name] for name in answers.keys() - read_recorded()} == only_asked(read_questions(), asked)
    assert "auth" not in recorded


def test_texts_arrive_as_they_were_given(render_service: RenderService) -> None:
    """Answers with special characters are unchanged in every file format."""
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
