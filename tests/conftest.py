"""The template under test, and hooks. The process that starts test workers reads no conftest in a subfolder."""

from pathlib import Path
from typing import Any

import pytest
from pytest_copie.plugin import Copie

from tests.rendering import RenderService, copy_template, render_with_copie
from tests.scheduling import GroupScheduling
from tests.services.summary import pytest_terminal_summary
from tests.warm import compile_once

__all__ = ["pytest_terminal_summary"]

compile_once()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Schedule tests together if they share an expensive fixture."""
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template, which does not change during the tests."""
    return copy_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def render_service(template: Path, copie: Copie) -> RenderService:
    """Return a function that renders a service and returns its folder, which is removed after the test."""
    return lambda answers: render_with_copie(copie, template, answers)
