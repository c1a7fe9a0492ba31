"""The renderer of the template tests rejects errors that pytest-copie accepts."""

from pathlib import Path

import pytest
import yaml
from pytest_copie.plugin import Copie

from quickset.errors import UsageError
from tests.questions import Answer
from tests.rendering import RenderService, read_tree, render, render_with_copie

QUESTIONS = """\
_subdirectory: template
color:
  type: str
  choices: [red, green]
shade:
  type: str
  when: "{{ color == 'green' }}"
  default: light
name:
  type: str
  default: paint
  validator: "{% if name == 'water' %}water is not paint{% endif %}"
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a small template."""
    folder = tmp_path / "tiny"
    (folder / "template").mkdir(parents=True)
    (folder / "copier.yml").write_text(QUESTIONS)
    (folder / "template" / "can.txt.jinja").write_text("{{ color }} {{ name }}\n")
    return folder


def test_answers_decide(tiny: Path, copie: Copie) -> None:
    """Each call renders a separate service."""
    services = [render_with_copie(copie, tiny, {"color": color}) for color in ("red", "green")]
    assert [read_tree(service) for service in services] == [{"can.txt": "red paint\n"}, {"can.txt": "green paint\n"}]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"colour": "red"}, "no question 'colour'"),
        ({"color": "blue"}, "'blue' is none of: 'red', 'green'"),
        ({"color": "red", "shade": "dark"}, "'shade' means nothing with color=red"),
        ({"color": "red", "name": "water"}, "water is not paint"),
    ],
    ids=["name", "choice", "not asked", "validator"],
)
def test_bad_answers_fail(answers: dict[str, Answer], words: str, tiny: Path, copie: Copie) -> None:
    """A misspelled name or value is an error and does not render the default."""
    with pytest.raises((UsageError, ValueError), match=words):
        render_with_copie(copie, tiny, answers)


@pytest.mark.parametrize(
    "setting",
    ["_tasks: [touch pwned]", "_migrations: [{command: touch pwned}]", "_jinja_extensions: [jinja2.ext.do]"],
    ids=lambda setting: setting.partition(":")[0],
)
def test_templates_that_need_trust_fail(setting: str, tiny: Path, copie: Copie) -> None:
    """A template with tasks, migrations or extensions is not rendered, and none of its code runs."""
    with (tiny / "copier.yml").open("a") as config:
        config.write(f"{setting}\n")
    with pytest.raises(ValueError, match=f"copier.yml has {setting.partition(':')[0]}"):
        render_with_copie(copie, tiny, {"color": "red"})
    assert not list(copie.test_dir.rglob("pwned"))


def test_both_renderers_agree(template: Path, render_service: RenderService, tmp_path: Path) -> None:
    """The tests of the template and the matrix render the same service."""
    answers: dict[str, Answer] = {"package_name": "shop", "database": "postgresql", "streaming": True}
    assert read_tree(render_service(answers)) == read_tree(render(template, tmp_path / "direct", answers))


def test_settings_of_the_user_play_no_part(
    tiny: Path, copie: Copie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copier settings of the user who runs the tests set no default."""
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults: {name: glue}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    assert read_tree(render_with_copie(copie, tiny, {"color": "red"})) == {"can.txt": "red paint\n"}


def test_yaml_stays_as_it_was(tiny: Path, copie: Copie) -> None:
    """PyYAML has the same tags as before, although pytest-copie adds one."""
    before = yaml.SafeLoader.yaml_constructors.copy()
    render_with_copie(copie, tiny, {"color": "red"})
    assert yaml.SafeLoader.yaml_constructors == before
