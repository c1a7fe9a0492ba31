"""The comparison with `copier update`: quickset loses nothing in any scenario."""

import pytest

from tests.questions import REPOSITORY
from tests.updates.comparison import SCENARIOS, Scenario, run_copier, run_quickset
from tests.updates.harness import Lab

pytestmark = pytest.mark.ci

TABLE = REPOSITORY / "docs" / "comparison.md"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_is_lost(lab: Lab, scenario: Scenario) -> None:
    """Quickset keeps the user's changes and brings those of the template."""
    outcome = run_quickset(lab, scenario)

    assert (outcome.lost, outcome.failed) == ((), "")


def test_plain_copier_updates(lab: Lab) -> None:
    """Plain Copier can update a generated service from a tagged clone, without --trust."""
    outcome = run_copier(lab, SCENARIOS[0])

    assert outcome.words == "merged"
    assert lab.at() == "0.2.0"


def test_table_in_the_docs() -> None:
    """The table in the docs has every scenario with quickset's result."""
    rows = [line.split(" | ")[0].removeprefix("| ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]

    assert rows[1:] == [scenario.name for scenario in SCENARIOS]
