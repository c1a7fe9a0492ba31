"""Run the comparison of `quickset update` with `copier update`, and write docs/comparison.md.

Usage: uv run python -m scripts.compare_updates
"""

import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.questions import REPOSITORY
from tests.updates.comparison import as_table, compare
from tests.updates.conftest import isolate
from tests.updates.harness import Lab, copy, make_origin, make_service

TEXT = """\
# `quickset update` beside `copier update`

The same service, the same edits, the same next release; what is there afterwards. Copier is {copier}, called as
`copier update --defaults`, with its default way to show conflicts (inline). `uv run python -m scripts.compare_updates`
runs it all and writes this table; a test runs quickset's half on every change.

{table}
"Merged" means that both sides are there and nothing is left to do. What is marked as lost was in the user's last commit
or in the template's release, is not in the work tree afterwards (git still has what was committed), and where no
conflict is mentioned nothing points at it.
"""


def main() -> None:
    """Write the table."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        isolate(root / "home", patch)
        make_service(make_origin(root / "origin"), root / "service")

        def fresh(to: Path) -> Lab:
            copy(root / "origin", to / "origin")
            return Lab(to / "origin", copy(root / "service", to / "service"), to / "service")

        table = as_table(compare(fresh, root / "scenarios"))
    text = TEXT.format(copier=version("copier"), table=table)
    (REPOSITORY / "docs" / "comparison.md").write_text(text, encoding="utf-8")
    print(table, end="")


if __name__ == "__main__":
    main()
