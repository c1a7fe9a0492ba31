"""The owner's lines with names that the template moved are listed with new names and changed only on request."""

import json
from typing import Any

import pytest
import yaml

from quickset.report.console import to_json
from quickset.updating.summary import as_markdown
from tests.updates.harness import (
    MAIN,
    MAIN_PY,
    ORDERS,
    ROUTER,
    SETTINGS,
    SETTINGS_PY,
    Content,
    Lab,
    kinds,
    refusal,
    same,
)

CONFIG_PY = "{{ package_name }}/core/config/settings.py"
MAIN_NEW = MAIN.replace("from app.core.settings", "from app.core.config.settings")
API_PY = "{{ package_name }}/api.py"
API = """\
from app.orders import router as orders_router

pytestmark = pytest.mark.ci

TAGS = [
    {"name": "orders"},
]

v1.include_router(orders_router)
"""
TABLES_PY = "{{ package_name }}/tables.py"
UPGRADES: dict[str, Any] = {
    "files": {SETTINGS_PY: CONFIG_PY, TABLES_PY: None},
    "modules": {
        "{{ package_name }}.core.settings": "{{ package_name }}.core.config.settings",
        "{{ package_name }}.core.settings.PORT": "{{ package_name }}.core.config.ports.PORT",
        "{{ package_name }}.core.gone": None,
        "{{ package_name }}.migrate": "{{ package_name }}.commands.migrate",
    },
    "commands": {"python -m {{ package_name }}.migrate": "python -m {{ package_name }} migrate", "just db": None},
}
RELEASE: dict[str, Content] = {
    SETTINGS_PY: None,
    CONFIG_PY: SETTINGS,
    "{{ package_name }}/core/config/__init__.py": "",
    MAIN_PY: MAIN_NEW.replace("from app.", "from {{ package_name }}."),
}
OWN: dict[str, Content] = {
    "app/invoices/__init__.py": "",
    "app/invoices/router.py": "import os\n\nfrom ..core.settings import Settings  # mine\nfrom app.core import gone\n",
    "app/core/mine.py": "from .settings import PORT, Settings\n",
    "tests/test_mine.py": "import app.core.settings\n\n\ndef test(monkeypatch):\n    app.core.settings.Settings()\n",
    "Makefile": "db:\n\tuv run python -m app.migrate && just db\n",
    "deploy/job.yaml": 'command: ["python", "-m", "app.migrate"]\n# python -m app.migrated\n',
}


def upgrades(lab: Lab, release: dict[str, Content] | None = None, **more: Any) -> None:
    """Release a version that moves the settings, with more entries in `upgrades.yml`."""
    text = yaml.safe_dump({"releases": {"0.2.0": UPGRADES | more}})
    lab.release(RELEASE | (release or {}), root={"upgrades.yml": text})


def listed(result: Any) -> list[tuple[str, str, str]]:
    """Return each reference as its place, old name and new name."""
    return [(f"{each.path}:{each.line}", each.old, each.new) for each in result.references]


LISTED = [
    ("Makefile:2", "just db", ""),
    ("Makefile:2", "python -m app.migrate", "python -m app migrate"),
    (
        "app/core/mine.py:1",
        "from .settings import PORT, Settings",
        "from app.core.config.ports import PORT; from app.core.config.settings import Settings",
    ),
    (
        "app/invoices/router.py:3",
        "from ..core.settings import Settings",
        "from app.core.config.settings import Settings",
    ),
    ("app/invoices/router.py:4", "from app.core import gone", ""),
    ("deploy/job.yaml:1", "python -m app.migrate", "python -m app migrate"),
    ("tests/test_mine.py:1", "import app.core.settings", "import app.core.config.settings"),
    ("tests/test_mine.py:5", "app.core.settings.Settings", "app.core.config.settings.Settings"),
]


def test_listed(lab: Lab) -> None:
    """Each use is listed with its line and new form, in the preview as in the update, and no file is rewritten."""
    lab.commit(OWN)
    upgrades(lab)

    preview, result = lab.preview(), lab.update()

    lab.assert_clean(result)
    assert listed(result) == LISTED
    assert preview.references == result.references
    assert not any(each.rewritten for each in result.references)
    for path, content in OWN.items():
        assert lab.read(path) == content
    assert not OWN.keys() & kinds(result).keys()
    shown = as_markdown(result)
    assert "## Old names in your files; `--fix-imports` rewrites the imports\n" in shown
    assert "- `Makefile:2`: `just db` → no replacement\n" in shown
    assert json.loads(to_json(result))["references"][0] == {
        "path": "Makefile",
        "line": 2,
        "kind": "command",
        "old": "just db",
        "new": "",
        "rewritten": False,
    }


def test_fixed(lab: Lab) -> None:
    """On request imports are rewritten, staged with the update and listed. Other uses stay unchanged."""
    lab.commit(OWN)
    upgrades(lab)

    preview, result = lab.preview(fix_imports=True), lab.update(fix_imports=True)

    lab.assert_clean(result)
    assert preview.references == result.references
    assert preview.changes == result.changes
    assert lab.read("app/invoices/router.py") == (
        "import os\n\nfrom app.core.config.settings import Settings  # mine\nfrom app.core import gone\n"
    )
    assert lab.read("app/core/mine.py") == (
        "from app.core.config.ports import PORT\nfrom app.core.config.settings import Settings\n"
    )
    assert "\n    app.core.config.settings.Settings()\n" in lab.read("tests/test_mine.py")
    for path in ("Makefile", "deploy/job.yaml"):
        assert lab.read(path) == OWN[path]
    fixed = {"app/core/mine.py", "app/invoices/router.py", "tests/test_mine.py"}
    assert {path for path, kind in kinds(result).items() if kind == "rewritten"} == fixed
    assert [each.line for each in result.references if each.rewritten] == [1, 3, 1, 5]
    assert f"+{lab.read('app/core/mine.py').splitlines()[1]}" in preview.patch
    assert lab.git("diff", "--name-only") == ""
    assert "## Rewritten imports\n" in as_markdown(result)


def test_fixed_on_a_branch(lab: Lab) -> None:
    """On a branch the rewritten imports are in the update's commit, and the work tree stays unchanged."""
    lab.commit(OWN)
    upgrades(lab)
    before = lab.snapshot()

    lab.update(fix_imports=True, branch="next")

    same(before, lab.snapshot())
    assert "app.core.config.settings" in lab.git("show", "next:app/invoices/router.py")


def test_fixing_what_is_not_committed(lab: Lab) -> None:
    """Uncommitted changes in a file of the owner refuse the rewrite, but not an update without it."""
    lab.commit(OWN)
    upgrades(lab)
    lab.write({"app/core/mine.py": "X = 1\n"})

    assert "not committed: app/core/mine.py" in str(refusal(lambda: lab.update(fix_imports=True)))

    lab.assert_clean(lab.update())
    assert lab.read("app/core/mine.py") == "X = 1\n"


def test_lines_of_the_owner_in_files_of_the_template(lab: Lab) -> None:
    """In a merged file the owner's lines are listed, and the template's lines are not."""
    lab.replace("app/main.py", ("def shut_down", "from app.core.settings import PORT\n\n\ndef shut_down"))
    lab.commit()
    upgrades(lab, {"README.md.jinja": "Once `python -m app.migrate`.\n"})

    result = lab.update()

    lab.assert_clean(result)
    line = lab.read("app/main.py").splitlines().index("from app.core.settings import PORT") + 1
    assert listed(result) == [
        (f"app/main.py:{line}", "from app.core.settings import PORT", "from app.core.config.ports import PORT")
    ]


def test_conflicts(lab: Lab) -> None:
    """In a conflict the owner's lines are listed and not rewritten. `--continue` lists them again."""
    mine = "from app.core.settings import PORT"
    lab.replace(
        "app/main.py", ("from app.core.settings import Settings", f"{mine}\nfrom app.core.settings import Settings")
    )
    lab.commit()
    upgrades(lab)

    result = lab.update(fix_imports=True)

    lab.assert_conflict(result, "app/main.py")
    line = lab.read("app/main.py").splitlines().index(mine) + 1
    assert [(each.line, each.rewritten) for each in result.references] == [(line, False)]
    lab.git("checkout", "--ours", "app/main.py")
    lab.git("add", "app/main.py")
    assert lab.resume().references == result.references


def test_taken_back(lab: Lab) -> None:
    """`--abort` undoes rewritten imports with the rest of the update."""
    lab.replace(
        "app/main.py", ("from app.core.settings import Settings", "from app.core.settings import Settings, PORT")
    )
    lab.commit(OWN)
    upgrades(lab)
    before = lab.snapshot()

    lab.assert_conflict(lab.update(fix_imports=True), "app/main.py")
    assert "app.core.config" in lab.read("app/invoices/router.py")
    lab.abort()

    same(before, lab.snapshot())


def test_a_file_that_moved_with_its_owners_imports(lab: Lab) -> None:
    """The owner's relative import in a file that the template moves is listed by the module that it meant."""
    lab.replace("app/core/settings.py", ("from dataclasses", "from .mine import X\nfrom dataclasses"))
    lab.commit({"app/core/mine.py": "X = 1\n"})
    upgrades(lab)

    result = lab.update(fix_imports=True)

    lab.assert_clean(result)
    assert listed(result) == [("app/core/config/settings.py:3", "from .mine import X", "from app.core.mine import X")]
    assert "\nfrom app.core.mine import X\n" in lab.read("app/core/config/settings.py")
    [change] = [each for each in result.changes if each.path == "app/core/config/settings.py"]
    assert (change.kind, change.note) == ("moved", "imports rewritten")


def test_a_module_of_a_file_that_moved(lab: Lab) -> None:
    """Uses of a module are listed even if `upgrades.yml` names only its file."""
    lab.commit({"app/mine.py": "from app.core.settings import Settings\n"})
    lab.release(RELEASE, root={"upgrades.yml": yaml.safe_dump({"releases": {"0.2.0": {"files": UPGRADES["files"]}}})})

    assert listed(lab.preview()) == [
        (
            "app/mine.py:1",
            "from app.core.settings import Settings",
            "from app.core.config.settings import Settings",
        )
    ]


@pytest.mark.parametrize("keep", [False, True], ids=["listed", "kept"])
def test_a_module_that_forwards(lab: Lab, *, keep: bool) -> None:
    """Uses of a module with a forwarding file are listed, unless its name is kept."""
    lab.commit({"app/mine.py": "from app.core.settings import Settings\n"})
    told_names: dict[str, Any] = {"files": UPGRADES["files"]}
    if keep:
        told_names["modules"] = {"app.core.settings": "app.core.settings"}
    shim = "from app.core.config.settings import Settings\n\n__all__ = ['Settings']\n"
    lab.release(
        RELEASE | {SETTINGS_PY: shim}, root={"upgrades.yml": yaml.safe_dump({"releases": {"0.2.0": told_names}})}
    )

    result = lab.update(fix_imports=True)

    lab.assert_clean(result)
    assert [each.path for each in result.references] == ([] if keep else ["app/mine.py"])
    assert lab.read("app/core/settings.py") == shim


def test_modules_of_the_owner_in_a_folder_that_moves(lab: Lab) -> None:
    """An owner's module in a folder that moves stays there, and so do its imports."""
    lab.commit(
        {"app/orders/mine.py": "", "app/use.py": "from app.orders.mine import x\nfrom app.orders import service\n"}
    )
    files: dict[str, Content] = {}
    for name, text in {"__init__.py": "", "service.py": ORDERS, "router.py": ROUTER}.items():
        files |= {f"{{{{ package_name }}}}/orders/{name}": None, f"{{{{ package_name }}}}/shop/{name}": text}
    entries = {"files": {"app/orders/": "app/shop/"}, "modules": {"app.orders": "app.shop"}}
    lab.release(files, root={"upgrades.yml": yaml.safe_dump({"releases": {"0.2.0": entries}})})

    result = lab.update(fix_imports=True)

    lab.assert_clean(result)
    assert lab.read("app/use.py") == "from app.orders.mine import x\nfrom app.shop import service\n"


def test_broken_python(lab: Lab) -> None:
    """Old names in invalid Python are listed and not rewritten."""
    lab.commit({"app/broken.py": "from app.core.settings import (\n"})
    upgrades(lab)

    result = lab.update(fix_imports=True)

    assert listed(result) == [("app/broken.py:1", "app.core.settings", "app.core.config.settings")]
    assert lab.read("app/broken.py") == "from app.core.settings import (\n"


COMMANDS = """\
CMD ["python","-m","app.migrate"]
args: ['python', '-m', 'app.migrate']
command:
  - python
  - -m
  - app.migrate
.venv/bin/python -m app.migrate && x
run: python   -m \\
    app.migrate
Run `python -m app.migrate`. Then python -m app.migrate.
python -m app.migrated
cpython -m app.migrate
python -m app.migrate.py
python -m app.migrate-all
"""


def test_commands_in_any_form(lab: Lab) -> None:
    """A command is found as whole words in a line, in a list of arguments and across lines."""
    lab.commit({"deploy/all.txt": COMMANDS, "picture.bin": b"\0python -m app.migrate"})
    upgrades(lab)

    found = lab.preview().references

    assert [each.line for each in found] == [1, 2, 4, 7, 8, 10]
    assert {(each.path, each.kind, each.new) for each in found} == {
        ("deploy/all.txt", "command", "python -m app migrate")
    }


def test_commands_of_several_releases(lab: Lab) -> None:
    """A command that two releases change is listed with its newest form, and so is its intermediate form."""
    lab.commit({"Makefile": "a:\n\tpython -m app.up\nb:\n\tpython -m app up\n"})
    first = {"commands": {"python -m app.up": "python -m app up"}}
    second = {"commands": {"python -m app up": "python -m app db up"}}
    lab.release({}, root={"upgrades.yml": yaml.safe_dump({"releases": {"0.2.0": first, "0.3.0": second}})})
    lab.release({MAIN_PY: MAIN_NEW})

    assert listed(lab.preview()) == [
        ("Makefile:2", "python -m app.up", "python -m app db up"),
        ("Makefile:4", "python -m app up", "python -m app db up"),
    ]


LINES = {
    API_PY: {
        "from {module} import router as {name}": "app/resources.py: from {module} import router as {name}",
        # The first match counts.
        "v1.include_router({name}, {more})": "app/resources.py, routers: {name} ({more})",
        "v1.include_router({name})": "app/resources.py, routers: {name}",
        '{"name": {name}},': "app/resources.py, tags: {name}",
    },
    TABLES_PY: {"from {module} import {name}": "app/resources.py, models: {name}"},
}


def test_lines_to_move(lab: Lab) -> None:
    """Each line of the owner in rewritten or removed files is listed with its new form and place."""
    lab.release({API_PY: API, TABLES_PY: "from app.orders import Order\n"})
    lab.update()
    mine = API.replace("\n\nTAGS", "\nfrom app.bills import router as bills_router  # mine\n\nTAGS")
    mine = mine.replace("},\n]", '},\n    {"name": "bills"},\n]')
    mine += 'v1.include_router(\n    bills_router,\n    prefix="/bills",\n)\nv1.include_router(other)\nprint("ready")\n'
    lab.commit(
        {"app/api.py": mine, "app/tables.py": "from app.bills import Bill\nfrom app.orders import Order\n"},
    )
    rewritten = API.replace("v1.include", "api = []\n\nv1.include").replace("TAGS", "LABELS")
    text = yaml.safe_dump({"releases": {"0.3.0": {"moved_lines": LINES, "files": {TABLES_PY: None}}}}, sort_keys=False)
    lab.release({API_PY: rewritten, TABLES_PY: None}, root={"upgrades.yml": text})

    preview, result = lab.preview(), lab.update()

    assert preview.references == result.references
    now = lab.read("app/api.py").splitlines()
    expected = [
        ("from app.bills import router as bills_router  # mine", "from app.bills import router as bills_router"),
        ('{"name": "bills"},', 'app/resources.py, tags: "bills"'),
        ('v1.include_router(bills_router, prefix="/bills")', 'routers: bills_router (prefix="/bills")'),
        ("v1.include_router(other)", "app/resources.py, routers: other"),
        ('print("ready")', ""),
    ]
    found = [each for each in result.references if each.path == "app/api.py"]
    assert [each.old for each in found] == [old for old, _ in expected]
    for each, (old, new) in zip(found, expected, strict=True):
        assert new in each.new
        assert each.kind == "line"
        assert now[each.line - 1].strip().startswith(old.partition("(")[0])
    assert listed(result)[-1] == ("app/tables.py:1", "from app.bills import Bill", "app/resources.py, models: Bill")
    assert kinds(result)["app/tables.py"] == "kept"
    assert "## Your lines to move\n" in as_markdown(result)


@pytest.mark.parametrize("fix", [False, True])
def test_nothing_to_tell(lab: Lab, *, fix: bool) -> None:
    """A service without lines of its owner has nothing to list or rewrite."""
    upgrades(lab)

    result = lab.update(fix_imports=fix)

    lab.assert_clean(result)
    assert result.references == ()
    assert "rewritten" not in kinds(result).values()
