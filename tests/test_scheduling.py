"""Tests that share a service, a server or an image run on one worker."""

import pytest

from tests.scheduling import group_of

BEHAVIOUR = "tests/services/behaviour/test_x.py::test_y"


@pytest.mark.parametrize(
    ("test", "group"),
    [
        (f"{BEHAVIOUR}[feature-mysql-problem-auth]", "tests/services/behaviour-mysql"),
        (f"{BEHAVIOUR}[none-layered-sqlite-envelope]", "tests/services/behaviour-sqlite"),
        ("tests/services/test_image.py::test_y[postgresql-404]", "tests/services/test_image-postgresql"),
        ("tests/services/test_image.py::test_y[404-none]", "tests/services/test_image-none"),
        ("tests/updates/test_kill.py::test_y[3-abort]", "tests/updates/test_kill-abort"),
        ("tests/services/test_python314.py::test_y", "tests/services/test_python314"),
        ("tests/services/test_matrix.py::test_row[pair-03-3.12-layered]", "tests/services/test_matrix-3.12"),
        ("tests/services/test_matrix.py::test_row[flip-python_version-3.13]", "tests/services/test_matrix-3.13"),
        (
            "tests/services/test_matrix.py::test_row[flip-database-none]",
            "tests/services/test_matrix.py::test_row[flip-database-none]",
        ),
    ],
)
def test_groups(test: str, group: str) -> None:
    """The group is derived from the name of a test."""
    assert group_of(test) == group
