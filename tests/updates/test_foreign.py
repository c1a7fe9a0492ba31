"""Templates of other authors that use features of Copier which this template does not use."""

from pathlib import Path

import pytest

from quickset.commands import components
from quickset.commands import update as engine
from quickset.commands.check import check
from quickset.commands.drift import Drift
from quickset.commands.info import info
from quickset.commands.new import Request, new
from quickset.errors import QuicksetError, UsageError
from quickset.templates.answers_file import ANSWERS_FILE, read_answers
from quickset.templates.questions import load_questions
from quickset.templates.template import Template
from tests.updates.harness import Lab, make_origin

NAMED = ".copier-answers.odoo.yml"
ANSWERS = {"{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml -}}"}


def make(folder: Path, questions: str, files: dict[str, str | bytes], **data: object) -> Lab:
    """Create a template with a release 0.1.0, and a service from it."""
    config = f"_subdirectory: template\n_exclude: [.git]\n{questions}"
    origin = make_origin(folder / "origin", config, {**ANSWERS, **files})
    lab = Lab(origin, folder / "orders", folder / "orders")
    new(Request(path=lab.path, data=data, lock=False), template_source=lab.source)
    return lab


def test_choice_with_a_space(tmp_path: Path) -> None:
    """A choice may contain characters that are invalid in a git ref."""
    questions = 'engine: {type: str, choices: [none, "small (cheap): ~1..2", x.lock], default: none}\n'
    lab = make(tmp_path, questions, {"engine.txt.jinja": "{{ engine }}\n"})

    for choice in ("small (cheap): ~1..2", "x.lock"):
        components.add(lab.path, [f"engine={choice}"], lock=False, template_source=lab.source)
        assert lab.read("engine.txt") == f"{choice}\n"
        lab.commit()


def test_jinja_in_what_is_written_once(tmp_path: Path) -> None:
    """A pattern of `_skip_if_exists` is rendered with the answers, including derived ones."""
    questions = '_skip_if_exists: ["{{ place }}/own.txt"]\nname: a\nplace: {default: "{{ name }}-b", when: false}\n'
    lab = make(tmp_path, questions, {"{{ place }}/own.txt": "1\n", "{{ place }}/other.txt": "1\n"})
    lab.release({"{{ place }}/own.txt": "2\n", "{{ place }}/other.txt": "2\n"})

    lab.assert_clean(lab.update())

    assert (lab.read("a-b/own.txt"), lab.read("a-b/other.txt")) == ("1\n", "2\n")


def test_choices_in_jinja(tmp_path: Path) -> None:
    """Choices that are written in Jinja are checked by Copier: its decision is followed."""
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
    with pytest.raises(UsageError, match=r"color: 'green' is none of: 'red', 'blue'"):
        components.add(lab.path, ["color=green"], lock=False, template_source=lab.source)
    with pytest.raises(UsageError, match=r"color: say which, as in color=VALUE"):
        components.add(lab.path, ["color"], lock=False, template_source=lab.source)


def test_components_with_choices_in_jinja(tmp_path: Path) -> None:
    """`info` finds a component's files if another answer depends on it, or if the template requires it."""
    questions = """\
fast: false
store:
  type: str
  choices: "{{ ['redis', 'memory'] if fast else ['disk'] }}"
  default: "{{ 'redis' if fast else 'disk' }}"
needed: {type: bool, default: true, validator: "{{ 'It is needed.' if not needed else '' }}"}
"""
    files: dict[str, str | bytes] = {"{% if fast %}fast.txt{% endif %}": "fast\n", "store.txt.jinja": "{{ store }}\n"}
    lab = make(tmp_path, questions, files, fast=True, store="memory")

    found = info(lab.path, template_source=lab.source)

    components = {each.name: (each.files, each.shared) for each in found.components}
    assert components == {"fast": (("fast.txt",), ("store.txt",)), "needed": ((), ())}
    assert found.notes == (
        "The files of needed are not known: the template does not render without it (needed: It is needed.).",
    )


def test_recorded_answer_that_only_copier_refuses(tmp_path: Path) -> None:
    """A removed choice in Jinja, or a new condition on a text, is refused with a solution that works."""
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
    """A secret that is given again is used in both renders, so its line is not a conflict."""
    questions = "token: {type: str, secret: true, default: ''}\n"
    lab = make(tmp_path, questions, {"a.txt.jinja": "key={{ token }}\n"}, token="s3")
    lab.release({"a.txt.jinja": "key={{ token }}!\n"})

    lab.assert_conflict(lab.update(), "a.txt")
    lab.abort()
    lab.assert_clean(lab.update(data={"token": "s3"}))

    assert lab.read("a.txt") == "key=s3!\n"


def test_secret_that_is_missing(tmp_path: Path) -> None:
    """A secret that rendering requires is requested by each command and accepted, and no title contains it."""
    questions = """\
_secret_questions: [token]
token: {type: str, default: "{{ UNSET }}"}
docker: false
sizes: {type: str, multiselect: true, choices: [s, m], validator: "{{ 'Choose some.' if not sizes else '' }}"}
"""
    files: dict[str, str | bytes] = {"a.txt.jinja": "{{ token }} {{ docker }}\n"}
    with pytest.raises(UsageError, match=r"^token: an answer is needed\. Give it by `--data token=VALUE`\.$"):
        make(tmp_path / "a", questions, files, sizes="s")
    with pytest.raises(UsageError, match=r"^sizes: .*\. Give it by `--data sizes=VALUE,VALUE`\.$"):
        make(tmp_path / "b", questions, files, token="s3")
    lab = make(tmp_path, questions, files, token="s3", sizes="s,m")
    lab.release({"a.txt.jinja": "{{ token }} {{ docker }}!\n"})

    with pytest.raises(
        UsageError, match=r"token: an answer is needed\. Give it in the same command: `--data token=VALUE` for"
    ):
        lab.update()
    lab.assert_clean(lab.update(data={"token": "s3"}))
    lab.commit()
    with pytest.raises(UsageError, match=r"`token=VALUE` for `quickset add`"):
        components.add(lab.path, ["docker"], lock=False, template_source=lab.source)
    result = components.add(lab.path, ["docker", "token=s3"], lock=False, template_source=lab.source)

    lab.assert_clean(result)
    assert lab.read("a.txt") == "s3 True!\n"
    assert "s3" not in result.title
    lab.commit()
    with pytest.raises(UsageError, match="a secret is only accepted together with a component"):
        components.add(lab.path, ["token=s4"], lock=False, template_source=lab.source)
    lab.assert_clean(components.remove(lab.path, ["docker", "token=s3"], lock=False, template_source=lab.source))
    assert lab.read("a.txt") == "s3 False!\n"


@pytest.mark.parametrize("listed", [False, True])
def test_secret_question(tmp_path: Path, *, listed: bool) -> None:
    """A secret can be answered, is not recorded, and is refused if its condition excludes it."""
    secret = "" if listed else "secret: true, "
    questions = f"active: true\ntoken: {{type: str, {secret}default: '', when: '{{{{ active }}}}'}}\n"
    questions += "_secret_questions: [token]\n" * listed
    lab = make(tmp_path, questions, {"a.txt.jinja": "{{ token }}\n"}, token="s3")

    assert lab.read("a.txt") == "s3\n"
    assert "token" not in lab.recorded()
    with pytest.raises(UsageError, match=r"'token' means nothing with active=false"):
        make(tmp_path / "other", questions, {"a.txt.jinja": "{{ token }}\n"}, token="s3", active=False)


def test_ruled_out_answer_takes_its_default(tmp_path: Path) -> None:
    """An answer that a change excludes is removed from the files, together with values that depend on it."""
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


def test_answers_file_of_another_name(tmp_path: Path) -> None:
    """An answers file is found under the template's name for it, and `--continue` records the version there."""
    lab = make(tmp_path, "_answers_file: .copier-answers.odoo.yml\nbig: false\n", {"a.txt": "1\n"})
    assert lab.exists(NAMED)
    assert not lab.exists(ANSWERS_FILE)
    lab.commit({"a.txt": "mine\n"})
    lab.release({"a.txt": "2\n"})

    assert lab.update().conflicts == ("a.txt",)
    lab.write({"a.txt": "both\n"})
    lab.git("add", "a.txt")
    lab.resume()

    assert "_commit: v0.2.0\n" in lab.read(NAMED)
    lab.commit()
    assert check([lab.path], drift=True, template_source=lab.source)[0].drift == (Drift(path="a.txt", kind="edited"),)
    assert info(lab.path, template_source=lab.source).template == "v0.2.0"
    components.add(lab.path, ["big"], lock=False, template_source=lab.source)
    assert "big: true\n" in lab.read(NAMED)
    lab.commit({"nested/.copier-answers.other.yml": "_commit: v1\n", "nested/b.txt": "mine\n"})
    lab.release({"nested/b.txt": "theirs\n"})
    assert any("nested/ is another service" in note for note in lab.update().notes)
    assert lab.read("nested/b.txt") == "mine\n"


def test_several_answers_files(tmp_path: Path) -> None:
    """A project with several answers files requires a choice. The usual name is used without one."""
    lab = make(tmp_path, "_answers_file: .copier-answers.odoo.yml\n", {"a.txt": "1\n"})
    lab.release({"a.txt": "2\n"})
    lab.commit({".copier-answers.b.yml": "_commit: v1\n_src_path: gh:a/b\n"})

    with pytest.raises(UsageError, match=r"has \.copier-answers\.b\.yml and \.copier-answers\.odoo\.yml; choose one"):
        lab.update()
    for wrong in ("nope.yml", "../origin/copier.yml", "/etc/hosts"):
        with pytest.raises(UsageError, match="--answers-file: "):
            lab.update(answers_file=wrong)
    lab.update(answers_file=NAMED)

    assert "_commit: v0.2.0\n" in lab.read(NAMED)
    lab.write({ANSWERS_FILE: "_commit: v0.3.0\n_src_path: gh:a/b\n"})
    assert read_answers(lab.path)["_commit"] == "v0.3.0"


def test_nothing_to_lock(tmp_path: Path) -> None:
    """A service without a `pyproject.toml` gets no note about `uv.lock`."""
    lab = make(tmp_path, "a: 1\n", {"a.txt": "1\n"})

    created = new(Request(path=tmp_path / "again"), template_source=lab.source)

    assert (created.locked, created.notes) == (False, ())


def test_expression_that_raises(tmp_path: Path) -> None:
    """An exception in a template's expression is reported in one line."""
    with pytest.raises(QuicksetError, match=r"could not be rendered: ZeroDivisionError: division by zero"):
        make(tmp_path, "a: 1\n", {"a.txt.jinja": "{{ 1 / 0 }}\n"})


def test_questions_of_several_documents_and_files(tmp_path: Path) -> None:
    """Questions and patterns that `copier.yml` includes, or that are in another document of it, are used."""
    questions = "_skip_if_exists: [a.txt]\n---\n!include shared/*.yml\n---\nname: x\n"
    shared = "_skip_if_exists: [b.txt]\nname: a\nbig: false\n"
    origin = make_origin(tmp_path / "origin", f"_subdirectory: template\n{questions}", {**ANSWERS, "a.txt": "1\n"})
    lab = Lab(origin, tmp_path / "orders", tmp_path / "orders")
    for name in ("a", "b"):
        (origin / "template" / f"{name}.txt").write_text("1\n")
    lab.release({"c.txt.jinja": "{{ name }} {{ big }}\n"}, root={"shared/big.yml": shared})
    template = Template(repository=origin / ".git", commit="HEAD", ref="v0.2.0", released=True)
    assert list(load_questions(template.config())) == ["name", "big"]
    new(Request(path=lab.path, data={"big": "yes"}, lock=False, template=str(origin), ref="HEAD"))
    assert lab.read("c.txt") == "x True\n"

    lab.release({"a.txt": "2\n", "b.txt": "2\n", "c.txt.jinja": "{{ name }} {{ big }}!\n"})
    engine.update(engine.Request(path=lab.path, to="HEAD", lock=False))

    assert [lab.read(f"{name}.txt") for name in "abc"] == ["1\n", "1\n", "x True!\n"]


def test_what_copier_says_of_a_render(tmp_path: Path) -> None:
    """An unedited file that contains Copier's settings and the folder's name is not a conflict."""
    conf = "{{ _copier_conf | to_json }}\n{{ _folder_name }} {{ _copier_python }}\n"
    lab = make(tmp_path, "name: {default: '{{ _folder_name }}'}\n", {"conf.txt.jinja": conf}, name="a")
    assert str(tmp_path) not in lab.read("conf.txt")
    lab.release({"conf.txt.jinja": f"{conf}{{{{ name }}}}\n"})

    lab.assert_clean(lab.update())

    assert lab.read("conf.txt").endswith("\norders python\na\n")
