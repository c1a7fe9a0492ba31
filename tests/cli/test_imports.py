"""Old names in Python source: how they are found and rewritten."""

import ast

import pytest

from quickset.updating.imports import apply, find, renaming

NAMES: dict[str, str | None] = {
    "app.core.errors": "app.core.http.errors",
    "app.core.errors.Conflict": "app.core.db.conflicts.Conflict",
    "app.core.old": None,
    "app.core.http": "app.core.http.client",
    "app.migrate": "app.commands.migrations",
    "app.core.types.Price": "app.core.amounts.Amount",
}
RENAME = renaming([NAMES])


def rewritten(source: str, was: str = "", now: str | None = None) -> str:
    """Rewrite all old names that can be rewritten."""
    uses = find(source, RENAME, was.split(".") if was else (), now.split(".") if now else None)
    assert uses is not None
    text, lines = apply(source, uses)
    ast.parse(text)
    assert len(lines) == len(uses)
    return text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import app.core.errors", "import app.core.http.errors"),
        ("import os, app.core.errors as e  # mine", "import os, app.core.http.errors as e  # mine"),
        ("from app.core import errors", "from app.core.http import errors"),
        ("from app.core import errors as e", "from app.core.http import errors as e"),
        ("from app import migrate", "from app.commands import migrations as migrate"),
        ("from app import migrate as m", "from app.commands import migrations as m"),
        ("from  app.core.errors  import  NotFound , Gone", "from  app.core.http.errors  import  NotFound , Gone"),
        ("from app.core.errors import *", "from app.core.http.errors import *"),
        ("from app.core.types import Price", "from app.core.amounts import Amount as Price"),
        ("if x: from app.core.errors import NotFound", "if x: from app.core.http.errors import NotFound"),
        ("import app.core.errors\nraise app.core.errors.NotFound", None),
        ('patch("app.core.errors.clock", 1)', 'patch("app.core.http.errors.clock", 1)'),
        ("mocker.patch.dict('app.core.errors.X', a=1)", "mocker.patch.dict('app.core.http.errors.X', a=1)"),
        ('monkeypatch.setattr("app.core.errors.x", 1)', 'monkeypatch.setattr("app.core.http.errors.x", 1)'),
        ('importlib.import_module(name="app.core.errors")', 'importlib.import_module(name="app.core.http.errors")'),
    ],
)
def test_rewritten(old: str, new: str | None) -> None:
    """Only the imported names change. The local names stay."""
    assert rewritten(old) == (new or old.replace("core.errors", "core.http.errors"))


SPLIT = [
    (
        "from app.core.errors import Conflict, NotFound, Gone  # noqa: F401\nx = 1\n",
        """\
from app.core.http.errors import NotFound, Gone  # noqa: F401
from app.core.db.conflicts import Conflict  # noqa: F401
x = 1
""",
    ),
    (
        "def f():\n    from app.core.types import Code, Price\n    return 1\n",
        """\
def f():
    from app.core.types import Code
    from app.core.amounts import Amount as Price
    return 1
""",
    ),
    (
        "from app.core.errors import (\n    Conflict,  # taken\n    # Missing.\n    NotFound,  # x\n    Gone,\n)\n",
        """\
from app.core.http.errors import (
    # Missing.
    NotFound,  # x
    Gone,
)
from app.core.db.conflicts import Conflict  # taken
""",
    ),
    (
        "from app.core import errors, old, other; x = 1\n",
        "from app.core import old, other; from app.core.http import errors; x = 1\n",
    ),
    (
        "from app.core.types import (Code, Price)\n",
        "from app.core.types import (Code)\nfrom app.core.amounts import Amount as Price\n",
    ),
    (
        "from app.core.types import Code, \\\n    Name, \\\n    Price\n",
        "from app.core.types import Code, \\\n    Name\nfrom app.core.amounts import Amount as Price\n",
    ),
    (
        "from app.core.errors import (NotFound,\n    Gone,  # x\n    Conflict)  # y\n",
        """\
from app.core.http.errors import (NotFound,
    Gone,  # x
    )  # y
from app.core.db.conflicts import Conflict  # y
""",
    ),
    (
        "from app.core.types import (Code,\n    Price,  # x\n    Name, Price as P)\n",
        """\
from app.core.types import (Code,
    Name)
from app.core.amounts import Amount as Price, Amount as P  # x
""",
    ),
    (
        # An import that cannot be split without losing a comment stays unchanged.
        "from app.core.types import (Price, # mine\n  Code)\n",
        "from app.core.types import (Price, # mine\n  Code)\n",
    ),
]


@pytest.mark.parametrize(("old", "new"), SPLIT)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_split(old: str, new: str, newline: str) -> None:
    """Names that move to different modules get separate imports next to the first, and comments stay."""
    assert rewritten(old.replace("\n", newline)) == new.replace("\n", newline)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from .errors import NotFound", "from app.core.http.errors import NotFound"),
        ("from . import errors", "from app.core.http import errors"),
        ("from .import errors, mine", "from .import mine\nfrom app.core.http import errors"),
        ("from ..core.errors import NotFound", "from app.core.http.errors import NotFound"),
        ("from .mine import x", "from .mine import x"),
        ("from ....far import x", "from ....far import x"),
    ],
)
def test_relative_imports(old: str, new: str) -> None:
    """A relative import of a moved module becomes an absolute one."""
    assert rewritten(old, "app.core") == new


def test_relative_imports_of_a_file_that_moved() -> None:
    """A relative import in a moved file is read from its old place."""
    old = "from .mine import x\nfrom ..orders import y\nfrom ..core.errors import z\n"
    new = "from app.core.mine import x\nfrom app.orders import y\nfrom app.core.http.errors import z\n"
    assert rewritten(old, "app.core", "app.core.http") == new
    assert find("from .errors import z", RENAME, ["app", "core"], ["app", "core", "http"]) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from app.core.old import A, B", [("import", "from app.core.old import A, B", "")]),
        ("import app.core.old", [("import", "import app.core.old", "")]),
        (
            "from app import core\ncore.errors.NotFound",
            [("attribute", "core.errors.NotFound", "app.core.http.errors.NotFound")],
        ),
        (
            "from app.core import types as t\nt.Price(1)",
            [("attribute", "t.Price", "app.core.amounts.Amount")],
        ),
        ("import app\napp.core.errors", [("attribute", "app.core.errors", "app.core.http.errors")]),
        ('patch("app.core." "errors.x")', [("string", '"app.core.errors.x"', '"app.core.http.errors.x"')]),
    ],
)
def test_found_and_not_rewritten(source: str, expected: list[tuple[str, str, str]]) -> None:
    """A use without a successor, or one that needs another import, is listed and not rewritten."""
    uses = find(source, RENAME)
    assert uses is not None
    assert [(use.kind, use.old, use.new) for use in uses] == expected
    assert rewritten(source) == source


@pytest.mark.parametrize(
    "source",
    [
        "from app.core.http.errors import NotFound",
        "from app.core.errorsome import x",
        "import application.core.errors",
        "app = create_app()\napp.core.errors",
        'logging.getLogger("app.core.errors")\nx = "app.core.errors"',
        'client.patch("/app.core.errors")',
        '"""See app.core.errors."""',
    ],
)
def test_not_found(source: str) -> None:
    """A new name, a longer word, another package and plain text are not uses."""
    assert find(source, RENAME) == []


def test_lines_after_a_split() -> None:
    """Line numbers refer to the rewritten source."""
    source = "from app.core.errors import Gone, Conflict\nimport app.core.old\nimport app.core.errors\n"
    uses = find(source, RENAME)
    assert uses is not None
    text, lines = apply(source, uses)
    assert lines == [1, 3, 4]
    assert text.splitlines()[3] == "import app.core.http.errors"


def test_no_python() -> None:
    """Source that cannot be parsed is reported as invalid Python."""
    assert find("from app import (", RENAME) is None
    assert find("x\0", RENAME) is None


def test_other_alphabets() -> None:
    """Positions count characters, not bytes."""
    assert rewritten('x = "größe"; import app.core.errors') == 'x = "größe"; import app.core.http.errors'


def test_several_releases() -> None:
    """Each release continues from the one before, and an owner's modules below an old name stay."""
    steps: list[dict[str, str | None]] = [{"a.b": "a.c"}, {"a.c.d": "a.e", "a.c": "a.f"}]
    rename = renaming(steps, ["a.b.mine"])
    assert [rename(name) for name in ("a.b", "a.b.d.X", "a.b.mine.Y", "a.b.mined", "a")] == [
        "a.f",
        "a.e.X",
        "a.b.mine.Y",
        "a.f.mined",
        "a",
    ]
