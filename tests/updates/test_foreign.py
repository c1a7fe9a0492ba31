"""Templates of other people, which do what Copier allows and ours does not."""

from pathlib import Path

import pytest

from quickset import components
from quickset.errors import UsageError
from quickset.new import Request, new
from tests.updates.harness import Lab, make_origin

ANSWERS = {"{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml -}}"}


def make(folder: Path, questions: str, files: dict[str, str | bytes], **data: object) -> Lab:
    """Make a template with a release 0.1.0, and a service of it."""
    config = f"_subdirectory: template\n_exclude: [.git]\n{questions}"
    origin = make_origin(folder / "origin", config, {**ANSWERS, **files})
    lab = Lab(origin, folder / "orders", folder / "orders")
    new(Request(path=lab.path, data=data, lock=False), template_source=lab.source)
    return lab


def test_choice_with_a_space(tmp_path: Path) -> None:
    """A choice may hold what the name of a git ref cannot."""
    questions = 'engine: {type: str, choices: [none, "small (cheap): ~1..2", x.lock], default: none}\n'
    lab = make(tmp_path, questions, {"engine.txt.jinja": "{{ engine }}\n"})

    for choice in ("small (cheap): ~1..2", "x.lock"):
        components.add(lab.path, [f"engine={choice}"], lock=False, template_source=lab.source)
        assert lab.read("engine.txt") == f"{choice}\n"
        lab.commit()


def test_jinja_in_what_is_written_once(tmp_path: Path) -> None:
    """A pattern of `_skip_if_exists` is rendered with the answers, derived ones included."""
    questions = '_skip_if_exists: ["{{ place }}/own.txt"]\nname: a\nplace: {default: "{{ name }}-b", when: false}\n'
    lab = make(tmp_path, questions, {"{{ place }}/own.txt": "1\n", "{{ place }}/other.txt": "1\n"})
    lab.release({"{{ place }}/own.txt": "2\n", "{{ place }}/other.txt": "2\n"})

    lab.assert_clean(lab.update())

    assert (lab.read("a-b/own.txt"), lab.read("a-b/other.txt")) == ("1\n", "2\n")


def test_choices_in_jinja(tmp_path: Path) -> None:
    """Only Copier knows choices that are written in Jinja: what it takes is taken, what it refuses is refused."""
    questions = """\
name: a
flavor: {type: str, choices: ["{{ name }}-x", "{{ name }}-y"], default: "{{ name }}-x"}
color: {type: str, choices: "{% if name == 'a' %}[red, blue]{% else %}[green]{% endif %}", default: red}
"""
    lab = make(tmp_path, questions, {"a.txt.jinja": "{{ flavor }} {{ color }}\n"}, color="blue")
    lab.release({"b.txt": "b\n"})

    lab.assert_clean(lab.update())
    lab.commit()
    components.add(lab.path, ["flavor=a-y"], lock=False, template_source=lab.source)

    assert lab.read("a.txt") == "a-y blue\n"
    lab.commit()
    with pytest.raises(UsageError, match=r"color: 'green' is not in \['red', 'blue'\]"):
        components.add(lab.path, ["color=green"], lock=False, template_source=lab.source)
    with pytest.raises(UsageError, match=r"color: say which, as in color=VALUE"):
        components.add(lab.path, ["color"], lock=False, template_source=lab.source)


def test_recorded_answer_that_only_copier_refuses(tmp_path: Path) -> None:
    """A choice in Jinja that is gone, or a new condition on a text, names the way out, which is taken."""
    questions = """\
name: a
color: {type: str, choices: ["{{ name }}-red", "{{ name }}-blue"], default: "{{ name }}-red"}
port: {type: str, default: "80"}
"""
    lab = make(tmp_path, questions, {"a.txt.jinja": "{{ color }} {{ port }}\n"}, color="a-blue")
    validator = """, validator: "{{ '81 is needed' if port != '81' else '' }}"}"""
    stricter = questions.replace("blue", "green").replace('"80"}', f'"80"{validator}')
    lab.release(root={"copier.yml": f"_subdirectory: template\n_exclude: [.git]\n{stricter}"})

    with pytest.raises(UsageError, match=r"color: the service has 'a-blue', .*'a-green'.*--data color=VALUE"):
        lab.update()
    with pytest.raises(UsageError, match=r"port: the service has '80', .*--data port=VALUE"):
        lab.update(data={"color": "a-green"})
    lab.assert_clean(lab.update(data={"color": "a-green", "port": "81"}))

    assert lab.read("a.txt") == "a-green 81\n"


def test_secret_in_an_update(tmp_path: Path) -> None:
    """A secret that is given again makes both renders those of the service, so that its line is no conflict."""
    questions = "token: {type: str, secret: true, default: ''}\n"
    lab = make(tmp_path, questions, {"a.txt.jinja": "key={{ token }}\n"}, token="s3")
    lab.release({"a.txt.jinja": "key={{ token }}!\n"})

    lab.assert_conflict(lab.update(), "a.txt")
    lab.abort()
    lab.assert_clean(lab.update(data={"token": "s3"}))

    assert lab.read("a.txt") == "key=s3!\n"


@pytest.mark.parametrize("listed", [False, True])
def test_secret_question(tmp_path: Path, *, listed: bool) -> None:
    """A secret can be answered, is not recorded, and is still refused where its condition rules it out."""
    secret = "" if listed else "secret: true, "
    questions = f"active: true\ntoken: {{type: str, {secret}default: '', when: '{{{{ active }}}}'}}\n"
    questions += "_secret_questions: [token]\n" * listed
    lab = make(tmp_path, questions, {"a.txt.jinja": "{{ token }}\n"}, token="s3")

    assert lab.read("a.txt") == "s3\n"
    assert "token" not in lab.recorded()
    with pytest.raises(UsageError, match=r"'token' means nothing with active=false"):
        make(tmp_path / "other", questions, {"a.txt.jinja": "{{ token }}\n"}, token="s3", active=False)


def test_ruled_out_answer_takes_its_default(tmp_path: Path) -> None:
    """What a change rules out is gone from the files, too, and so is what follows from it."""
    questions = """\
first: false
second: {type: bool, default: false, when: "{{ first }}"}
third: {type: str, default: "{{ 'big' if second else 'small' }}", when: "{{ second }}"}
"""
    text = "{{ first }} {{ second }} {{ third }}\n"
    lab = make(tmp_path, questions, {"a.txt.jinja": text}, first=True, second=True, third="huge")
    assert lab.read("a.txt") == "True True huge\n"

    components.remove(lab.path, ["first"], lock=False, template_source=lab.source)

    assert lab.read("a.txt") == "False False small\n"
    assert lab.recorded().keys() & {"first", "second", "third"} == {"first"}


def test_what_copier_says_of_a_render(tmp_path: Path) -> None:
    """A file that holds Copier's settings and the folder's name is no conflict while nobody edits it."""
    conf = "{{ _copier_conf | to_json }}\n{{ _folder_name }} {{ _copier_python }}\n"
    lab = make(tmp_path, "name: {default: '{{ _folder_name }}'}\n", {"conf.txt.jinja": conf}, name="a")
    assert str(tmp_path) not in lab.read("conf.txt")
    lab.release({"conf.txt.jinja": f"{conf}{{{{ name }}}}\n"})

    lab.assert_clean(lab.update())

    assert lab.read("conf.txt").endswith("\norders python\na\n")
