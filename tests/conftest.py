"""The template under test, and hooks: the process that starts test workers reads no conftest further down."""

from pathlib import Path

import pytest

from tests.rendering import copy_template
from tests.services.summary import pytest_terminal_summary
from tests.warm import compile_once

__all__ = ["pytest_terminal_summary"]

compile_once()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template, which stays as it is while the tests run."""
    return copy_template(tmp_path_factory.mktemp("template"))
