"""Most lines of the template are lines of the service, without a Jinja tag."""

import re
from collections.abc import Sequence

from tests.questions import REPOSITORY

TEMPLATE = REPOSITORY / "template"
MODULE = re.compile(r"(\.py(\{% endif %\})?|first_migration \}\})\.jinja$")
# A list of optional parts, with one item a line.
SEAMS = {"api.py.jinja", "lifespan.py.jinja", "template_settings.py.jinja"}
LINES = {
    path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8").splitlines()
    for path in sorted(TEMPLATE.rglob("*"))
    if path.is_file()
}


def share(lines: Sequence[str]) -> float:
    """Return the share of lines with a tag, in percent."""
    return 100 * sum("{%" in line for line in lines) / max(len(lines), 1)


def test_template() -> None:
    """Fewer than 6 % of all lines have a tag."""
    assert share([line for lines in LINES.values() for line in lines]) < 6


def test_modules() -> None:
    """At most 20 % of the lines of a module have a tag, and at most 35 % of those of a seam."""
    modules = {path: share(lines) for path, lines in LINES.items() if MODULE.search(path)}
    seams = {path for path in modules if path.rsplit("/", 1)[-1] in SEAMS}
    assert len(seams) == len(SEAMS)
    assert {path: percent for path, percent in modules.items() if percent > (35 if path in seams else 20)} == {}
