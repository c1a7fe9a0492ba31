"""A project that the user formats in another way than the template."""

import subprocess
import sys

from tests.updates.harness import MAIN, MAIN_PY, PYPROJECT, SETTINGS, SETTINGS_PY, Lab, kinds

FORMATTED = MAIN.replace("from app.", "from {{ package_name }}.")


def ruff(lab: Lab) -> None:
    """Format the service with the settings in its own pyproject.toml."""
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "--quiet", "."]
    subprocess.run(command, cwd=lab.path, check=True)


def reformat(lab: Lab, setting: str = "line-length = 79") -> None:
    """Set another line length and format everything."""
    lab.replace("pyproject.toml", ("line-length = 120", setting))
    before = lab.read("app/main.py")
    ruff(lab)
    assert lab.read("app/main.py") != before
    lab.commit(message="Format")


def test_reformatted(lab: Lab) -> None:
    """A line that the template changed and the user only wrapped is the template's, wrapped."""
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
    """The user's real edits in a reformatted file stay beside the template's."""
    reformat(lab)
    lab.replace("app/main.py", ("    app.clear()\n", '    app.clear()\n    print("closed")\n'))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert '"/live"' in lab.read("app/main.py")
    assert 'print("closed")' in lab.read("app/main.py")


def test_reformatted_and_the_same_line(lab: Lab) -> None:
    """A real edit of the same line is still a conflict in a reformatted file."""
    reformat(lab)
    lab.replace("app/main.py", ('"/metrics"', '"/mine"'))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/metrics"', '"/theirs"')})

    result = lab.update()

    lab.assert_conflict(result, "app/main.py")
    assert '"/mine"' in lab.read("app/main.py")
    assert '"/theirs"' in lab.read("app/main.py")


def test_other_quotes(lab: Lab) -> None:
    """A user who takes single quotes gets fixes in single quotes."""
    reformat(lab, "line-length = 120\n\n[tool.ruff.format]\nquote-style = 'single'")
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert "'/live'" in lab.read("app/main.py")
    assert "'/health/ready'" in lab.read("app/main.py")


def test_untouched_files_are_not_formatted(lab: Lab) -> None:
    """A file that the template did not change is left alone, formatted or not."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.commit()
    before = lab.read("app/main.py")
    lab.release({SETTINGS_PY: SETTINGS.replace("8000", "8080")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/main.py") == before
    assert kinds(result) == {"app/core/settings.py": "changed"}


def test_same_settings(lab: Lab) -> None:
    """With the template's own settings a user's unformatted file is left as unformatted as it was."""
    lab.replace("app/main.py", ("    app.clear()\n", "    app.clear( )\n"))
    lab.commit()
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    result = lab.update()

    lab.assert_clean(result)
    assert "app.clear( )" in lab.read("app/main.py")
    assert '"/live"' in lab.read("app/main.py")


def test_template_changes_the_line_length(lab: Lab) -> None:
    """A template that changes its own formatting does not conflict with a user's edit elsewhere in the file."""
    lab.replace("app/main.py", ("    app.clear()\n", '    app.clear()\n    print("closed")\n'))
    lab.commit()
    wrapped = FORMATTED.replace('return ["errors", "context"', 'return [\n        "errors",\n        "context"')
    lab.release({MAIN_PY: wrapped, "pyproject.toml.jinja": PYPROJECT.replace("120", "100")})

    result = lab.update()

    lab.assert_clean(result)
    assert 'print("closed")' in lab.read("app/main.py")
    assert "line-length = 100" in lab.read("pyproject.toml")


def test_broken_file(lab: Lab) -> None:
    """A file that no formatter can read is merged as text all the same."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.replace("app/core/settings.py", ("    title: str", "    mine = (\n    title: str"))
    lab.commit()
    lab.release({SETTINGS_PY: SETTINGS.replace("30.0", "60.0")})

    result = lab.update()

    lab.assert_clean(result)
    assert "mine = (" in lab.read("app/core/settings.py")
    assert "60.0" in lab.read("app/core/settings.py")


def test_broken_settings(lab: Lab) -> None:
    """A formatter's settings that cannot be read stop no update."""
    lab.replace("pyproject.toml", ("line-length = 120", 'line-length = "wide"'))
    lab.commit()
    lab.release({SETTINGS_PY: SETTINGS.replace("30.0", "60.0")})

    result = lab.update()

    lab.assert_clean(result)
    assert "60.0" in lab.read("app/core/settings.py")


def test_notebook_and_generated_files(lab: Lab) -> None:
    """Other files than the service's Python are never formatted."""
    lab.replace("pyproject.toml", ("line-length = 120", "line-length = 79"))
    lab.commit({"scripts/mine.py": "x = { 'a':1 }\n"})
    lab.release({MAIN_PY: FORMATTED.replace('"/health/live"', '"/live"')})

    lab.update()

    assert lab.read("scripts/mine.py") == "x = { 'a':1 }\n"
