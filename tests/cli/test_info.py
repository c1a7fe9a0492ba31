import json
from pathlib import Path

import pytest

from quickset.commands.info import info
from quickset.commands.new import Request, new
from quickset.errors import QuicksetError, UsageError
from quickset.templates.source import Source
from tests.cli.conftest import Run, commit_all
from tests.questions import REPOSITORY


def test_info(origin: Source, work: Path) -> None:
    """Every active component lists its own files, the files with lines of it, and missing files."""
    data = {"project_name": "Shop", "extras": ["metrics"], "docker": False}
    created = new(Request(path=work / "a", data=data, lock=False), template_source=origin)
    (created.path / "metrics.py").unlink()

    found = info(created.path, template_source=origin)

    assert found.template == created.template
    assert found.answers == created.answers
    components = {component.name: component for component in found.components}
    assert set(components) == {"example", "database", "extras"}
    assert components["example"].files == ("app/orders/router.py",)
    assert components["example"].shared == ("app/api.py",)
    assert (components["database"].value, components["database"].files) == ("sqlite", ("migrations/env.py",))
    assert components["extras"].missing == components["extras"].files == ("metrics.py",)
    assert found.off == ("docker",)
    assert found.notes == ()


def test_info_of_the_recorded_state(checkout: Path, origin: Source, work: Path) -> None:
    """A service is described by the template version that it was created from, not by the newest."""
    created = new(Request(path=work / "a", lock=False), template_source=origin)
    (checkout / "template" / "{% if docker %}compose.yaml{% endif %}").write_text("")
    commit_all(checkout, "Add a file")

    files = {component.name: component.files for component in info(created.path, template_source=origin).components}

    assert files["docker"] == ("Dockerfile",)


def test_info_of_an_unknown_state(origin: Source, work: Path) -> None:
    """A service from an unknown version is described as far as possible, with a note."""
    created = new(Request(path=work / "a", lock=False), template_source=origin)
    answers = created.path / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(created.template, "v7.0.0"))

    found = info(created.path, template_source=origin)

    assert found.template == "v7.0.0"
    assert "does not know v7.0.0" in found.notes[0]


def test_info_without_answers(work: Path) -> None:
    """A folder without a service and a missing folder are usage errors. Damaged answers are an error too."""
    for path in (work, work / "missing"):
        with pytest.raises(UsageError, match="is not a service: "):
            info(path)
    for text in ("a: [", "- a\n", "project_name: A\n", ""):
        (work / ".copier-answers.yml").write_text(text)
        with pytest.raises(QuicksetError, match="is damaged"):
            info(work)


@pytest.mark.ci
def test_info_of_what_was_not_asked(work: Path) -> None:
    """A choice that is unavailable is not listed as an inactive component, and dependent components are named."""
    source = Source(REPOSITORY)
    data = {"project_name": "Shop", "example": False}
    for database in ("sqlite", "none"):
        request = Request(path=work / database, ref="HEAD", data=data | {"database": database}, lock=False)
        new(request, template_source=source)

    whole, without = (info(work / database, template_source=source) for database in ("sqlite", "none"))

    components = {component.name: component for component in whole.components}
    assert components["auth"].value == "jwt"
    assert "app/core/auth/tokens.py" in components["auth"].files
    assert {"migrations/env.py", "app/core/auth/tokens.py"} <= set(components["database"].files)
    assert "auth" not in {*without.off, *(component.name for component in without.components)}
    assert "database" in without.off


def test_info_shown(quickset: Run, work: Path) -> None:
    """`info` prints text or one JSON document, by default for the current folder."""
    quickset("new", "a", "--defaults", "--no-lock")

    shown = quickset("info", cwd=work / "a")
    document = json.loads(quickset("info", "a", "--json").stdout)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Dockerfile" in shown.stdout
    assert document["answers"]["database"] == "sqlite"
    assert [component["name"] for component in document["components"]] == ["example", "database", "docker"]
    assert quickset("info", "nowhere").returncode == 2
    assert quickset("info", "a", "--quiet").stdout == ""
