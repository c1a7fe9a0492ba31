"""The same edits updated by quickset and by `copier update`: what each keeps and what each loses.

The comparison looks at the result: the user's texts, which must be somewhere in the service's files, and the template's
changes.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import copier
import yaml

from quickset.commands import update as engine
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.templates.source import Source
from tests.updates.harness import (
    LATIN,
    NUMBERS,
    ORDERS,
    PICTURE,
    PYPROJECT,
    SERVICE_PY,
    Content,
    Lab,
    git,
    has_markers,
    release,
)

FIX = "return sum(prices, start=0)"
FIXED = ORDERS.replace("return sum(prices)", FIX)
EDITED = ORDERS.replace("TAX = 19", "TAX = 7")


@dataclass(frozen=True)
class Scenario:
    """The edits of both sides, and the expected result."""

    name: str
    mine: Callable[[Lab], object]
    theirs: Mapping[str, Content]
    keeps: Sequence[bytes] = ()
    """Texts of the user. Each must be in some file of the service."""
    gets: Sequence[bytes] = ()
    """Texts of the template."""
    gone: Sequence[str] = ()
    """Files that must not exist: the user deleted or moved them, or they are in the way."""
    exact: Mapping[str, bytes] = field(default_factory=dict)
    """Files that stay unchanged, byte for byte."""


def _move(lab: Lab, old: str, new: str) -> None:
    (lab.path / new).parent.mkdir(parents=True, exist_ok=True)
    lab.git("mv", old, new)


def _ignored(lab: Lab) -> None:
    lab.git("rm", "--quiet", "--cached", "numbers.txt")
    lab.write({".gitignore": lab.read(".gitignore") + "numbers.txt\n", "numbers.txt": "mine, in secret\n"})


SCENARIOS = (
    Scenario(
        "edits of different lines",
        lambda lab: lab.write({"numbers.txt": NUMBERS.replace("line 40", "mine 40")}),
        {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")},
        keeps=[b"mine 40"],
        gets=[b"theirs 5"],
    ),
    Scenario(
        "edits of the same line",
        lambda lab: lab.write({"numbers.txt": NUMBERS.replace("line 05", "mine 5")}),
        {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")},
        keeps=[b"mine 5"],
        gets=[b"theirs 5"],
    ),
    Scenario(
        "the user moved a file",
        lambda lab: _move(lab, "app/orders/service.py", "app/orders/sums.py"),
        {SERVICE_PY: FIXED},
        gets=[FIX.encode()],
        gone=["app/orders/service.py"],
    ),
    Scenario(
        "the user moved a folder",
        lambda lab: _move(lab, "app/orders", "app/purchases"),
        {SERVICE_PY: FIXED},
        gets=[FIX.encode()],
        gone=["app/orders/service.py"],
    ),
    Scenario(
        "the user renamed the package",
        lambda lab: _move(lab, "app", "shop"),
        {SERVICE_PY: FIXED},
        gets=[FIX.encode()],
        gone=["app/orders/service.py"],
    ),
    Scenario(
        "the template renamed a file that the user edited",
        lambda lab: lab.write({"app/orders/service.py": EDITED}),
        {SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED},
        keeps=[b"TAX = 7"],
        gets=[FIX.encode()],
        gone=["app/orders/service.py"],
    ),
    Scenario(
        "the template deleted a file that the user edited",
        lambda lab: lab.write({"app/orders/service.py": EDITED}),
        {SERVICE_PY: None},
        keeps=[b"TAX = 7"],
    ),
    Scenario(
        "the user deleted a file that the template changed",
        lambda lab: lab.write({"app/orders/service.py": None}),
        {SERVICE_PY: FIXED},
        gone=["app/orders/service.py"],
    ),
    Scenario(
        "both added a file of the same name",
        lambda lab: lab.write({"app/live.py": "LIVE = 'mine'\n"}),
        {"{{ package_name }}/live.py": "LIVE = 'theirs'\n"},
        keeps=[b"LIVE = 'mine'"],
    ),
    Scenario(
        "a binary that the user changed",
        lambda lab: lab.write({"logo.png": PICTURE + b"\0mine"}),
        {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")},
        gets=[b"theirs 5"],
        exact={"logo.png": PICTURE + b"\0mine"},
    ),
    Scenario(
        "a binary that both changed",
        lambda lab: lab.write({"logo.png": PICTURE + b"\0mine"}),
        {"logo.png": PICTURE + b"\0theirs"},
        exact={"logo.png": PICTURE + b"\0mine"},
    ),
    Scenario(
        "a text in Latin-1 that both edited",
        lambda lab: lab.write({"latin.txt": LATIN.replace(b"ck 03", b"ck mine")}),
        {"latin.txt": LATIN.replace(b"ck 18", b"ck theirs")},
        exact={"latin.txt": LATIN.replace(b"ck 03", b"ck mine").replace(b"ck 18", b"ck theirs")},
    ),
    Scenario(
        "an ignored file that the template renders",
        _ignored,
        {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")},
        exact={"numbers.txt": b"mine, in secret\n"},
    ),
    Scenario(
        "a dependency that the user pinned and the template raised",
        lambda lab: lab.replace("pyproject.toml", ("fastapi>=0.165,<0.166", "fastapi==0.200.0")),
        {"pyproject.toml.jinja": PYPROJECT.replace("fastapi>=0.165,<0.166", "fastapi>=0.170,<0.171")},
        keeps=[b'"fastapi==0.200.0"'],
    ),
    Scenario(
        "dependencies that both added at one place",
        lambda lab: lab.replace("pyproject.toml", ('  "orjson', '  "nh3>=0.3",\n  "orjson')),
        {"pyproject.toml.jinja": PYPROJECT.replace('  "orjson', '  "openai>=3",\n  "orjson')},
        keeps=[b'"nh3>=0.3"'],
        gets=[b'"openai>=3"'],
    ),
)


@dataclass(frozen=True)
class Outcome:
    """The result of an update of a scenario."""

    lost: tuple[str, ...]
    conflict: bool
    failed: str = ""

    @property
    def words(self) -> str:
        """The outcome as the text of a table cell."""
        if self.failed:
            return f"fails: {self.failed}"
        if self.lost:
            return "**loses** " + ", ".join(self.lost) + (" (a conflict says so)" if self.conflict else "")
        return "conflict, both sides there" if self.conflict else "merged"


def run_quickset(lab: Lab, scenario: Scenario) -> Outcome:
    """Update with quickset."""
    _prepare(lab, scenario)
    result = engine.update(engine.Request(path=lab.path, lock=False), template_source=Source(lab.origin))
    return judge(lab, scenario, conflict=bool(result.conflicts))


def run_copier(lab: Lab, scenario: Scenario) -> Outcome:
    """Update with Copier, from tags instead of releases."""
    git("tag", "v0.1.0", cwd=lab.origin)
    recorded = lab.recorded() | {"_src_path": f"git+{lab.origin.as_uri()}"}
    lab.commit({ANSWERS_FILE: "# Written by quickset.\n" + yaml.safe_dump(recorded)}, message="Another source")
    _prepare(lab, scenario)
    git("tag", "v0.2.0", cwd=lab.origin)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copier.run_update(lab.path, defaults=True, overwrite=True, quiet=True, settings=copier.Settings())
    except Exception as error:  # noqa: BLE001 -- whatever it is, it belongs in the table
        return Outcome((), conflict=False, failed=" ".join(str(error).split())[:80])
    named = git("status", "--porcelain", cwd=lab.path)
    unmerged = any(line[:2] in {"UU", "AA", "DU", "UD", "AU", "UA"} for line in named.splitlines())
    return judge(lab, scenario, conflict=unmerged or any(_marked(lab)) or ".rej" in named)


def _prepare(lab: Lab, scenario: Scenario) -> None:
    scenario.mine(lab)
    lab.commit()
    release(lab.origin, "0.2.0", scenario.theirs)


def _marked(lab: Lab) -> list[str]:
    return [name for name, content in _contents(lab).items() if has_markers(content)]


def _contents(lab: Lab) -> dict[str, bytes]:
    return {
        path.relative_to(lab.path).as_posix(): path.read_bytes()
        for path in lab.path.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(lab.path).parts and path.suffix != ".rej"
    }


def judge(lab: Lab, scenario: Scenario, *, conflict: bool) -> Outcome:
    """Check the service for the expected texts and files, and return what is missing."""
    found = _contents(lab)
    everything = b"\n".join(found.values())
    lost = []
    if any(piece not in everything for piece in scenario.keeps):
        lost.append("the user's edit")
    if any(piece not in everything for piece in scenario.gets):
        lost.append("the template's fix")
    elif any(piece in found.get(name, b"") for name in scenario.gone for piece in scenario.gets):
        lost.append("the move: the old file is back and takes the fix")
    elif any(name in found for name in scenario.gone):
        lost.append("the deletion: the file is back")
    if any(found.get(name) != content for name, content in scenario.exact.items()):
        lost.append("the user's bytes")
    return Outcome(tuple(lost), conflict=conflict)


def as_table(rows: Mapping[str, tuple[Outcome, Outcome]]) -> str:
    """Return the outcomes as a Markdown table.

    Args:
        rows: quickset's outcome and Copier's, by scenario.
    """
    lines = ["| what happened | `quickset update` | `copier update` |", "|---|---|---|"]
    lines += [f"| {name} | {ours.words} | {plain.words} |" for name, (ours, plain) in rows.items()]
    return "\n".join(lines) + "\n"


def compare(fresh: Callable[[Path], Lab], folder: Path) -> dict[str, tuple[Outcome, Outcome]]:
    """Run every scenario with both tools.

    Args:
        fresh: Creates a service, with its own template, in a folder.
        folder: The folder for all files of the comparison.

    Returns:
        The outcomes by scenario.
    """
    found = {}
    for number, scenario in enumerate(SCENARIOS):
        ours = run_quickset(fresh(folder / f"{number}-quickset"), scenario)
        found[scenario.name] = (ours, run_copier(fresh(folder / f"{number}-copier"), scenario))
    return found
