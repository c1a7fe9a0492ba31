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
# `quickset update` and `copier update` compared

Both commands update the same service with the same edits to the same release. Copier is {copier}, called as
`copier update --defaults`, with its default conflict style (inline). `uv run python -m scripts.compare_updates` runs
both and writes this table. A test runs the `quickset update` column on every change.

{table}
"Merged" means that both sides are there, and nothing is left to do. A lost text was in the last commit of the user or
in the release of the template, and is not in the work tree after the update. Git still has what was committed. If the
table mentions no conflict, Copier does not report the loss.
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
