"""The README of a service is short, and its links and paths exist."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.questions import Answer
from tests.rendering import RenderService

# The height of two screens.
MOST_LINES = 120
MOST_LINES_OF_A_PART = 10
EVERYTHING: Mapping[str, Answer] = {
    "cache": "memory", "http_client": True, "websockets": True, "streaming": True,
}  # fmt: skip
PARTS = {"Sign in", "Limit requests", "Cache", "Call other services", "Stream", "Use WebSockets", "Migrate", "Update"}
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def sections(readme: str) -> dict[str, list[str]]:
    """Return the lines of each section, without blank lines and code fences."""
    found = re.split(r"^## (.*)\n", readme, flags=re.MULTILINE)[1:]
    return {
        title: [line for line in text.splitlines() if line and not line.startswith("```")]
        for title, text in zip(found[::2], found[1::2], strict=True)
    }


@pytest.mark.parametrize("layout", ["feature", "layered"])
def test_it_has_two_screens(layout: str, render_service: RenderService) -> None:
    """The README of a default service fits on two screens."""
    readme = (render_service({"layout": layout}) / "README.md").read_text()
    assert len(readme.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("example", [True, False])
def test_sections_of_parts_are_short(database: str, example: bool, render_service: RenderService) -> None:  # noqa: FBT001
    """Each part has a section of ten lines at most."""
    service = render_service({"database": database, "example": example, **EVERYTHING})
    found = sections((service / "README.md").read_text())
    assert PARTS <= found.keys()
    assert {title: len(found[title]) for title in PARTS if len(found[title]) > MOST_LINES_OF_A_PART} == {}


@pytest.mark.parametrize("layout", ["feature", "layered"])
def test_links_and_paths_lead_somewhere(layout: str, render_service: RenderService) -> None:
    """Every file that the README or a page in `docs/` links to or names exists, unless the page adds it."""
    service = render_service({"layout": layout, **EVERYTHING})
    pages = [service / "README.md", *service.glob("docs/*.md")]
    assert len(pages) == 3
    for page in pages:
        assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
    assert [path for path in named_paths(service / "README.md") if not (service / path).exists()] == []


def named_paths(readme: Path) -> list[str]:
    return re.findall(r"`((?:app|migrations|tests|scripts|\.github)/[\w./-]*)`", readme.read_text())
