"""A project that the user formats differently from the template."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quickset.updating.formatting import Styles, reason
from tests.updates.harness import MAIN, MAIN_PY, PYPROJECT, SETTINGS, SETTINGS_PY, Lab, git, kinds

FORMATTED = MAIN.replace("from app.", "from {{ package_name }}.")


LIVE = FORMATTED.replace('"/health/live"', '"/live"')


def ruff(lab: Lab, *options: str) -> None:
    """Format the service with its own settings for ruff, or with others."""
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "--quiet", *options, "."]
    subprocess.run(command, cwd=lab.path, check=True)


def reformat(lab: Lab, setting: str = "line-length = 79") -> None:
    """Set another line length and format all files."""
    lab.replace("pyproject.toml", ("line-length = 120", setting))
    before = lab.read("app/main.py")
    ruff(lab)
    assert lab.read("app/main.py") != before
    lab.commit(message="Format")


def test_reformatted(lab: Lab) -> None:
    """A line that the template changed and the user only wrapped gets the template's change, wrapped."""
    reformat(lab)
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    text = lab.read("app/main.py")
    assert '"/live"' in text
    assert '"/health/live"' not in text
    ruff(lab)
    assert lab.read("app/main.py") == text


def test_reformatted_and_edited(lab: Lab) -> None:
    """A user's edits in a reformatted file are kept together with the template's."""
    reformat(lab)
    lab.replace("app/main.py", ("    app.clear()\n", '    app.clear()\n    print("closed")\n'))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert '"/live"' in lab.read("app/main.py")
    assert 'print("closed")' in lab.read("app/main.py")


def test_reformatted_and_the_same_line(lab: Lab) -> None:
    """Edits of the same line on both sides are still a conflict in a reformatted file."""
    reformat(lab)
    lab.replace("app/main.py", ('"/metrics"', '"/mine"'))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/metrics"', '"/theirs"')})

    result = lab.update()

    lab.assert_conflict(result, "app/main.py")
    assert '"/mine"' in lab.read("app/main.py")
    assert '"/theirs"' in lab.read("app/main.py")


def test_other_quotes(lab: Lab) -> None:
    """A user who uses single quotes gets fixes in single quotes."""
    reformat(lab, "line-length = 120\n\n[tool.ruff.format]\nquote-style = 'single'")
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert "'/live'" in lab.read("app/main.py")
    assert "'/health/ready'" in lab.read("app/main.py")


def test_untouched_files_are_not_formatted(lab: Lab) -> None:
    """A file that the template did not change stays unchanged, formatted or not."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.commit()
    before = lab.read("app/main.py")
    lab.release({SETTINGS_PY: SETTINGS.replace("8000", "8080")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/main.py") == before
    assert kinds(result) == {"app/core/settings.py": "changed"}


def test_same_settings(lab: Lab) -> None:
    """With the template's own settings, a user's unformatted file is not formatted."""
    lab.replace("app/main.py", ("    app.clear()\n", "    app.clear( )\n"))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert "app.clear( )" in lab.read("app/main.py")
    assert '"/live"' in lab.read("app/main.py")


def test_template_changes_the_line_length(lab: Lab) -> None:
    """A change of the template's formatting does not conflict with a user's edit elsewhere in the file."""
    lab.replace("app/main.py", ("    app.clear()\n", '    app.clear()\n    print("closed")\n'))
    lab.commit()
    wrapped = FORMATTED.replace('return ["errors", "context"', 'return [\n        "errors",\n        "context"')
    lab.release({MAIN_PY: wrapped, "pyproject.toml.jinja": PYPROJECT.replace("120", "100")})

    result = lab.update()

    lab.assert_clean(result)
    assert 'print("closed")' in lab.read("app/main.py")
    assert "line-length = 100" in lab.read("pyproject.toml")


def test_broken_file(lab: Lab) -> None:
    """A file that no formatter can parse is merged as text."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.replace("app/core/settings.py", ("    title: str", "    mine = (\n    title: str"))
    lab.commit()
    lab.release({SETTINGS_PY: SETTINGS.replace("30.0", "60.0")})

    result = lab.update()

    lab.assert_clean(result)
    assert "mine = (" in lab.read("app/core/settings.py")
    assert "60.0" in lab.read("app/core/settings.py")


def test_broken_settings(lab: Lab) -> None:
    """Formatter settings that cannot be read do not stop an update."""
    lab.replace("pyproject.toml", ("line-length = 120", 'line-length = "wide"'))
    lab.commit()
    lab.release({SETTINGS_PY: SETTINGS.replace("30.0", "60.0")})

    result = lab.update()

    lab.assert_clean(result)
    assert "60.0" in lab.read("app/core/settings.py")


def test_notebook_and_generated_files(lab: Lab) -> None:
    """Only the Python files of the service are formatted."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.commit({"scripts/mine.py": "x = { 'a':1 }\n"})
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    lab.update()

    assert lab.read("scripts/mine.py") == "x = { 'a':1 }\n"


@pytest.mark.parametrize("own", ["", '[tool.ruff]\nextend = "../../ruff.toml"\n'], ids=["above", "extended"])
def test_settings_of_the_repository(another: Callable[..., list[Lab]], tmp_path: Path, own: str) -> None:
    """Settings at the root of a repository apply to a service in a subfolder."""
    top = tmp_path / "mono"
    top.mkdir()
    git("init", "--quiet", cwd=top)
    [lab] = another(top, "services/orders")
    (top / "ruff.toml").write_text("line-length = 79\n[format]\nquote-style = 'single'\n")
    lab.replace("pyproject.toml", ("[tool.ruff]\nline-length = 120\n", own))
    ruff(lab)
    lab.replace("app/main.py", ("    app.clear()\n", "    app.clear()\n    print('closed')\n"))
    lab.commit()
    lab.release({MAIN_PY: LIVE})

    result = lab.update()

    assert result.conflicts == ()
    text = lab.read("app/main.py")
    assert "'/live'" in text
    assert "print('closed')" in text
    ruff(lab)
    assert lab.read("app/main.py") == text


def test_settings_of_a_folder(lab: Lab) -> None:
    """Settings of a folder apply to its files, including a file that the template adds."""
    lab.commit({"app/ruff.toml": "line-length = 79\n"})
    ruff(lab)
    lab.commit(message="Format")
    lab.release({MAIN_PY: LIVE, "{{ package_name }}/added.py": MAIN, "top.py": MAIN})

    lab.assert_clean(lab.update())

    assert '"/live"' in lab.read("app/main.py")
    assert lab.read("app/added.py") == lab.read("app/main.py").replace('"/live"', '"/health/live"')
    assert lab.read("top.py") == MAIN


@pytest.mark.parametrize("settings", ["", "[tool.black]\nline-length = 79\n"], ids=["defaults", "settings"])
def test_black(lab: Lab, settings: str) -> None:
    """A project formatted with black, by its own settings or the defaults, gets the template's changes."""
    lab.replace("pyproject.toml", ("[tool.ruff]\nline-length = 120\n", settings))
    ruff(lab, "--isolated", "--line-length", "79" if settings else "88")
    lab.replace("app/main.py", ("    app.clear()\n", '    app.clear()\n    print("closed")\n'))
    lab.commit()
    before = lab.read("app/main.py")
    lab.release({MAIN_PY: LIVE})

    lab.assert_clean(lab.update())

    assert lab.read("app/main.py") == before.replace('"/health/live"', '"/live"')


def test_other_settings_on_the_command_line(lab: Lab) -> None:
    """A file whose format differs from its settings gets the template's changes."""
    ruff(lab, "--isolated")
    lab.commit(message="Format")
    before = lab.read("app/main.py")
    lab.release({MAIN_PY: LIVE})

    lab.assert_clean(lab.update())

    assert lab.read("app/main.py") == before.replace('"/health/live"', '"/live"')


def test_wrapped_by_hand(lab: Lab) -> None:
    """A line that the user wrapped does not change the style of lines that the template adds."""
    wide = "total = sum([{}, 2000000000, 3000000000, 4000000000, 5000000000, 6000000000, 7000000000, 8000])\n"
    lab.release({"one.py": f"{wide.format(1)}\nend = 1\n", "two.py": wide.format(2)})
    lab.update()
    wrapped = wide.format(1).replace("sum([", "sum(\n    [").replace("])", "]\n)")
    lab.commit({"one.py": f"{wrapped}\nend = 1\n"})
    lab.release({"one.py": f"{wide.format(1)}\nend = 1\n{wide.format(3)}"})

    lab.assert_clean(lab.update())

    assert lab.read("one.py") == f"{wrapped}\nend = 1\n{wide.format(3)}"


def test_reformatted_and_moved(lab: Lab) -> None:
    """A file that the user reformatted and moved gets the template's changes, formatted."""
    reformat(lab)
    before = lab.read("app/main.py")
    lab.git("mv", "app/main.py", "app/server.py")
    lab.commit()
    lab.release({MAIN_PY: LIVE})

    lab.assert_clean(lab.update())

    assert lab.read("app/server.py") == before.replace('"/health/live"', '"/live"')
    assert not lab.exists("app/main.py")


YAML = "on:\n  push:\n    branches: ['main']\njobs:\n- name: 'one'\n- name: 'two'\n"
PRETTY = 'on:\n    push:\n        branches: ["main"]\njobs:\n    - name: "one"\n    - name: "two"\n'
PROSE = "# Start\n\nRun it,\nthen test it:\n`just test`, or\n3 times.\n\n* one\n* two\n\n*Soon*: more.\n"
WRAPPED = "# Start\n\nRun it, then test it: `just\ntest`, or 3 times.\n\n- one\n- two\n\n_Soon_: more.\n"


@pytest.mark.parametrize(
    ("name", "text", "formatted", "theirs"),
    [
        ("ci.yml", YAML, PRETTY, ("'two'", "'three'")),
        ("notes.md", PROSE, WRAPPED, ("then test it", "then check it")),
        ("data.json", '{"a": [1,\n2], "b": 3}\n', '{\n  "a": [1, 2],\n  "b": 3\n}\n', ("3", "4")),
    ],
    ids=["yaml", "markdown", "json"],
)
def test_formatting_is_named_as_the_reason(
    lab: Lab, name: str, text: str, formatted: str, theirs: tuple[str, str]
) -> None:
    """A conflict that only the formatting style causes is reported as such, with a solution."""
    lab.release({name: text})
    lab.update()
    lab.commit({name: formatted})
    lab.release({name: text.replace(*theirs)})

    result = lab.update()

    lab.assert_conflict(result, name)
    [note] = [change.note for change in result.changes if change.path == name]
    assert note == "you changed only its formatting: take the template's side and format it again"


def test_formatting_and_an_edit(lab: Lab) -> None:
    """A conflict is attributed to formatting if the edits are in different places, and not if they overlap."""
    lab.release({"ci.yml": YAML})
    lab.update()
    lab.commit({"ci.yml": PRETTY.replace("main", "mine")})
    lab.release({"ci.yml": YAML.replace("two", "three")})
    [apart] = [change.note for change in lab.update().changes if change.kind == "conflict"]
    lab.abort()
    lab.commit({"ci.yml": PRETTY.replace("two", "mine")})

    [meeting] = [change.note for change in lab.update().changes if change.kind == "conflict"]

    assert apart == "only its formatting conflicts: the edits of both sides do not meet"
    assert meeting == ""


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ({}, ()),
        ({"pyproject.toml": "[tool.ruff]\nline-length = 90"}, ("line-length=90",)),
        ({"pyproject.toml": "[tool.ruff]\nline-length = 90", "ruff.toml": ""}, ()),
        ({"a/ruff.toml": "line-length = 80", "a/.ruff.toml": "line-length = 70"}, ("line-length=70",)),
        ({"a/pyproject.toml": "[project]", "ruff.toml": "indent-width = 2"}, ("indent-width=2",)),
        ({"a/ruff.toml": "extend = '../b.toml'\nline-length = 80", "b.toml": "preview = true"}, ("preview=true",)),
        ({"a/ruff.toml": "extend = '../../out.toml'", "out.toml": "preview = true"}, ()),
        ({"ruff.toml": "extend = 'ruff.toml'\nline-length = 80"}, ("line-length=80",)),
        ({"pyproject.toml": "project.requires-python='>=3.12'\n[tool.ruff]"}, ('target-version="py312"',)),
        ({"pyproject.toml": "[tool.black]"}, ("line-length=88",)),
        ({"pyproject.toml": "[tool.black"}, ()),
        ({"pyproject.toml": "tool = 1"}, ()),
    ],
)
def test_nearest_settings(files: dict[str, str], first: tuple[str, ...]) -> None:
    """Settings are found as ruff finds them, but only in folders of the repository."""
    contents = {name: text.encode() for name, text in files.items()}

    assert set(first) <= set(Styles(contents.get).of("a/b.py")[0])
    assert set(first) <= set(Styles(contents.get, "a/").of("b.py")[0])
    assert bool(first) == bool(Styles(contents.get).of("a/b.py")[0])


@pytest.mark.parametrize(
    ("mine", "note"),
    [
        (
            "x = f(\n    1,\n    2,\n)\n",
            "you changed only its formatting: take the template's side and format it again",
        ),
        ("x = f(\n    1,\n    3,\n)\n", ""),
        ("x = f(1, 2)  # mine\n", ""),
    ],
    ids=["wrapped", "edited", "comment"],
)
def test_reason_of_a_conflict_in_python(mine: str, note: str) -> None:
    """Only changes that a formatter makes count as formatting. A comment does not."""
    assert reason("a.py", b"x = f(1, 2)\n", b"x = f(1, 4)\n", mine.encode()) == note
