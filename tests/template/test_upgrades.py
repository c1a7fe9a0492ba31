"""`upgrades.yml` describes every change of an update to a running service, and released versions never change."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jinja2.meta
import pytest
from jinja2.sandbox import SandboxedEnvironment

from quickset.templates import upgrades
from quickset.templates.source import Source
from quickset.templates.upgrades import Upgrades, is_off, load
from tests.questions import REPOSITORY, Answer, read_questions, read_recorded
from tests.template.releases import checkout, unexplained

FINAL = re.compile(r"\d+\.\d+\.\d+")
RELEASED = ("copier.yml", "template", upgrades.FILE)
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
# Oldest first.
RELEASES = dict(reversed(Source(REPOSITORY).releases().items()))
OWN = load((REPOSITORY / upgrades.FILE).read_text(encoding="utf-8"))


@pytest.mark.full
@pytest.mark.parametrize(("old", "new"), list(pairwise(RELEASES)), ids=lambda version: str(version))
def test_releases_are_explained(old: str, new: str, tmp_path: Path) -> None:
    """upgrades.yml describes every change between two releases."""
    before, after = (checkout(RELEASES[version], tmp_path / version) for version in (old, new))
    assert unexplained(before, after, OWN, (old, new), tmp_path) == []


def test_work_since_the_last_release_is_explained(template: Path, tmp_path: Path) -> None:
    """upgrades.yml describes every change since the last release."""
    last = list(RELEASES)[-1]
    before = checkout(RELEASES[last], tmp_path / last)
    assert unexplained(before, template, OWN, (last, VERSION), tmp_path) == []


def test_a_released_template_stays() -> None:
    """A final version's template, questions and upgrades are equal to those of the commit that set it."""
    if not FINAL.fullmatch(VERSION):
        return
    different = ["git", "diff", "--name-only", RELEASES[VERSION], "--", *RELEASED]
    assert subprocess.run(different, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout == ""


def test_releases_are_known() -> None:
    """upgrades.yml has entries only for releases and for the version in development."""
    assert OWN.releases.keys() <= {*RELEASES, VERSION.partition(".dev")[0]}


def test_conditions_ask_questions() -> None:
    """A condition or a name with Jinja uses only existing answers under their current names."""
    asked = {*(question.name for question in read_questions()), *read_recorded()}
    released = [entry for release in OWN.releases.values() for entry in release.before_deploy]
    changed = [entry for section in (OWN.adding, OWN.removing) for entries in section.values() for entry in entries]
    renames = [release.renames for release in OWN.releases.values()]
    sections = [section for names in renames for section in (names.files, names.modules, names.commands)]
    sections += [lines for names in renames for lines in names.moved_lines.values()]
    texts = [text or "" for section in sections for text in (*section, *section.values())]
    texts += [file for names in renames for file in names.moved_lines]
    for condition in [*(entry.when for entry in (*released, *changed)), *texts]:
        assert jinja2.meta.find_undeclared_variables(SandboxedEnvironment().parse(condition)) <= asked, condition


def test_absent_values_belong_to_questions() -> None:
    """Only questions have absent values and texts for what is added or removed."""
    named = OWN.absents.keys() | OWN.adding.keys() | OWN.removing.keys()
    assert named <= {*(question.name for question in read_questions()), *read_recorded()}


def test_absent_values_leave_everything_off() -> None:
    """An update does not add optional parts to a service."""
    asked = {question.name for question in read_questions()}
    assert [name for name, value in OWN.absents.items() if name in asked and not is_off(value)] == []


def test_recorded_answers_have_absent_values() -> None:
    """A service that is older than a recorded answer without a question keeps its behavior."""
    assert [name for name, choices in read_recorded().items() if OWN.absent(name) not in choices] == []


Change = Callable[[Path], None]


def replace(path: str, old: str, new: str) -> Change:
    """Replace a text in a file of the template."""

    def change(folder: Path) -> None:
        text = (folder / path).read_text(encoding="utf-8")
        assert old in text
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")

    return change


def move(path: str, to: str | None) -> Change:
    """Move or remove a file of the template."""

    def change(folder: Path) -> None:
        if to is None:
            (folder / path).unlink()
        else:
            (folder / path).rename(folder / to)

    return change


SETTINGS = "template/{{ package_name }}/core/settings.py.jinja"
HTTP_SETTINGS = "template/{{ package_name }}/core/http/settings.py.jinja"
ASGI = "template/{{ package_name }}/asgi.py.jinja"
SETTING_TYPES = "template/{{ package_name }}/core/setting_types.py.jinja"
DATABASE_URL = (
    "template/{{ package_name }}/core/{% if database == 'sqlite' %}db{% endif %}/settings.py.jinja"
)
EXAMPLE = "template/.env.example.jinja"


def details(text: str) -> str:
    """Write details of a release to a file."""
    return f'absent: {{template_updates: none, new: "off"}}\nreleases: {{"9.0.0": {{{text}}}}}'


@pytest.mark.parametrize(
    ("change", "fault", "words"),
    [
        (
            replace("copier.yml", "default: feature", "default: layered"),
            "question layout: has another default",
            "before_deploy: [{text: A, defaults: [layout]}]",
        ),
        (
            replace(HTTP_SETTINGS, "default=8000", "default=8080"),
            "setting PORT: has another default or other bounds: 8000 ",
            "before_deploy: [{text: A, settings: [PORT]}]",
        ),
        (
            replace(DATABASE_URL, "sqlite:///./data.db", "sqlite:///./service.db"),
            "setting DATABASE_URL: has another default or other bounds",
            "before_deploy: [{text: A, settings: [DATABASE_URL]}]",
        ),
        (
            replace(SETTING_TYPES, "Delay = Annotated[float, Field(ge=0,", "Delay = Annotated[float, Field(ge=1,"),
            "setting DRAIN_DELAY_SECONDS: has another default or other bounds",
            "before_deploy: [{text: A, settings: [DRAIN_DELAY_SECONDS]}]",
        ),
        (
            replace(EXAMPLE, "sqlite:///./data.db", "sqlite:///./service.db"),
            "setting DATABASE_URL: has another default or other bounds",
            "before_deploy: [{text: A, settings: [DATABASE_URL], when: \"{{ database == 'sqlite' }}\"}]",
        ),
        (
            replace(SETTINGS, "    worker_threads: int = Field(default=8, ge=1, le=1000)\n", ""),
            "setting WORKER_THREADS: is gone",
            "before_deploy: [{text: A, settings: [WORKER_THREADS]}]",
        ),
        (
            move("template/justfile.jinja", "template/Justfile.jinja"),
            "file justfile: moved or is gone",
            "files: {justfile: Justfile}",
        ),
        (
            move("template/justfile.jinja", None),
            "file justfile: moved or is gone",
            "files: {justfile: null}",
        ),
        (
            move(ASGI, "template/{{ package_name }}/{{ 'env' }}.py.jinja"),
            "module app.asgi: moved or is gone",
            "files: {\"{{ package_name }}/asgi.py\": \"{{ package_name }}/env.py\"}",
        ),
        (
            move(ASGI, None),
            "module app.asgi: moved or is gone",
            "modules: {app.asgi: null}, files: {\"{{ 'app' }}/asgi.py\": null}",
        ),
        (
            # The template continues with a fact derived from the new name.
            replace("copier.yml", "\nlicense:\n", '\nlicense: {when: false, default: "{{ licence }}"}\nlicence:\n'),
            "question license: is gone without a mapping",
            "questions: {license: licence}",
        ),
        (
            replace("copier.yml", '": problem', '": rfc9457'),
            "question error_format: its choice problem is gone without a mapping",
            "choices: {error_format: {problem: rfc9457}}",
        ),
        (
            replace("copier.yml", "\nlicense:\n", "\nnovel:\n  type: bool\n  default: true\n\nlicense:\n"),
            "question novel: is new and has no absent value",
            None,
        ),
        (
            replace("copier.yml", "\nlicense:\n", "\nnew:\n  type: str\n  choices: [a]\n  default: a\n\nlicense:\n"),
            "question new: its absent value is none of its choices",
            None,
        ),
    ],
    ids=[
        "default-of-a-question",
        "default-of-a-setting",
        "constant-behind-a-setting",
        "bounds-of-a-type",
        "default-in-the-example",
        "setting-removed",
        "file-moved",
        "file-removed",
        "module-moved",
        "module-removed",
        "question-renamed",
        "choice-renamed",
        "question-without-absent-value",
        "question-with-odd-absent-value",
    ],
)
def test_a_silent_change_is_found(
    change: Change, fault: str, words: str | None, template: Path, tmp_path: Path
) -> None:
    """An undescribed change of each kind is found, and passes after upgrades.yml describes it."""
    changed = Path(shutil.copytree(template, tmp_path / "changed"))
    change(changed)


    def compared(words: str, folder: str) -> list[str]:
        return unexplained(template, changed, load(details(words)), ("1.0.0", "9.0.0.dev0"), tmp_path / folder, [{}])

    found = compared("", "silent")
    assert any(line.startswith(fault) for line in found), found
    if words is not None:
        assert compared(words, "described") == []


def test_names_that_are_not_there(template: Path, tmp_path: Path) -> None:
    """A missing module or name in upgrades.yml is found."""
    words = "modules: {app.main.create_app: app.main.build, app.asgi: app.env, app.core.settings.Settings: app.main}"
    found = unexplained(template, template, load(details(words)), ("1.0.0", "9.0.0"), tmp_path, [{}])
    assert found == [
        "module app.asgi: is not where upgrades.yml says, at app.env",
        "module app.main.create_app: is not where upgrades.yml says, at app.main.build",
    ]


def test_a_change_is_explained_to_those_that_it_concerns(template: Path, tmp_path: Path) -> None:
    """An entry does not count for a changed service that its condition excludes."""
    changed = Path(shutil.copytree(template, tmp_path / "changed"))
    replace(HTTP_SETTINGS, "default=8000", "default=8080")(changed)
    words = "before_deploy: [{text: A, settings: [PORT], when: \"{{ database == 'sqlite' }}\"}]"
    services: list[dict[str, Answer]] = [{}, {"database": "none"}]
    found = unexplained(template, changed, load(details(words)), ("1.0.0", "9.0.0"), tmp_path, services)
    assert [line.partition(":")[0] for line in found] == ["setting PORT"]
    assert unexplained(template, changed, load(details(words)), ("1.0.0", "9.0.0"), tmp_path / "one", [{}]) == []


def test_nothing_changed(template: Path, tmp_path: Path) -> None:
    """Two equal states need no entry."""
    assert unexplained(template, template, Upgrades(), ("1.0.0", "9.0.0"), tmp_path, [{}]) == []
