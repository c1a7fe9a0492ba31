"""File moves that the template names in `upgrades.yml`, so that none of them is guessed."""

from pathlib import Path

import pytest
import yaml

from quickset.errors import QuicksetError
from tests.updates.harness import MAIN_PY, ORDERS, ROUTER, ROUTER_PY, SERVICE_PY, Content, Lab, kinds, make_origin
from tests.updates.harness import make_service as make

pytestmark = pytest.mark.ci

MORE = "\n\n".join(
    f'def rule_{number}() -> str:\n    """Name rule {number}."""\n    return "{number}"' for number in range(40)
)
GROWN = f"{ORDERS}\n\n{MORE}\n"
"""A text that is not similar enough to the old file to be matched."""
SUMS_PY = "{{ package_name }}/orders/sums.py"
SHIM = '"""Forwards to the new module."""\n\nfrom app.orders.sums import total\n\n__all__ = ["total"]\n'


def upgrades(**sections: object) -> dict[str, Content]:
    """Return an `upgrades.yml` with entries for the second release."""
    return {"upgrades.yml": yaml.safe_dump({"releases": {"0.2.0": sections}})}


def edit(lab: Lab) -> None:
    lab.replace("app/orders/service.py", ("TAX = 19", "TAX = 7"))
    lab.commit()


def test_edits_follow_a_move_that_is_named(lab: Lab) -> None:
    """An edit follows a named move to a different-looking file, even if another file is identical to the old one."""
    edit(lab)
    lab.release(
        {SERVICE_PY: None, SUMS_PY: GROWN, "{{ package_name }}/orders/like.py": ORDERS},
        root=upgrades(files={"{{ package_name }}/orders/service.py": SUMS_PY}),
    )

    preview, result = lab.preview(), lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == GROWN.replace("TAX = 19", "TAX = 7")
    assert lab.read("app/orders/like.py") == ORDERS
    assert not lab.exists("app/orders/service.py")
    assert kinds(result) == {"app/orders/like.py": "added", "app/orders/sums.py": "moved"}
    assert preview.changes == result.changes


def test_a_file_without_a_successor(lab: Lab) -> None:
    """A file that is named as removed is kept with its edits, and no similar file receives them."""
    edit(lab)
    lab.release(
        {SERVICE_PY: None, SUMS_PY: ORDERS}, root=upgrades(files={"{{ package_name }}/orders/service.py": None})
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == ORDERS
    assert "TAX = 7" in lab.read("app/orders/service.py")
    assert kinds(result) == {"app/orders/service.py": "kept", "app/orders/sums.py": "added"}


def test_a_folder_that_is_named(tmp_path: Path) -> None:
    """A folder entry covers its files in any package, the most specific entry wins, and other files stay."""
    files = {
        "{{ package_name }}/orders/": "{{ package_name }}/{% if layout == 'feature' %}shop{% else %}stores{% endif %}/",
        "{{ package_name }}/orders/router.py": "{{ package_name }}/routes.py",
        "{% if layout == 'layered' %}numbers.txt{% endif %}": "windows.txt",
    }
    origin = make_origin(tmp_path / "origin")
    service = make(origin, tmp_path / "service", data={"package_name": "store"})
    lab = Lab(origin, service, service)
    lab.replace("store/orders/service.py", ("TAX = 19", "TAX = 7"))
    lab.replace("store/orders/router.py", ('PREFIX = "/orders"', 'PREFIX = "/mine"'))
    lab.commit({"store/orders/own.py": "OWN = 1\n"})
    lab.release(
        {
            SERVICE_PY: None,
            ROUTER_PY: None,
            "{{ package_name }}/shop/__init__.py": "",
            "{{ package_name }}/shop/service.py": GROWN,
            "{{ package_name }}/routes.py": f"{ROUTER}\n\n{MORE}\n",
        },
        root=upgrades(files=files),
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("store/shop/service.py") == GROWN.replace("TAX = 19", "TAX = 7")
    assert 'PREFIX = "/mine"' in lab.read("store/routes.py")
    assert lab.exists("store/orders/__init__.py")
    assert lab.exists("store/orders/own.py")
    assert kinds(result) == {
        "store/routes.py": "moved",
        "store/shop/__init__.py": "added",
        "store/shop/service.py": "moved",
    }


@pytest.mark.parametrize("steps", [["0.2.0", "0.3.0"], ["0.3.0"]], ids=["one-by-one", "at-once"])
def test_moves_of_several_releases(lab: Lab, steps: list[str]) -> None:
    """A file that two releases move goes to its final path, and another file may take a path in between."""
    edit(lab)
    last = {"{{ package_name }}/orders/router.py": SUMS_PY, SUMS_PY: "{{ package_name }}/money/sums.py"}
    first = {"releases": {"0.2.0": {"files": {SERVICE_PY: SUMS_PY}}}}
    both = {"releases": {**first["releases"], "0.3.0": {"files": {SUMS_PY: last[SUMS_PY]}}}}
    lab.release({SERVICE_PY: None, SUMS_PY: GROWN}, root={"upgrades.yml": yaml.safe_dump(first)})
    lab.release({SUMS_PY: None, last[SUMS_PY]: f"{GROWN}\n\n{MORE}"}, root={"upgrades.yml": yaml.safe_dump(both)})

    for step in steps:
        result = lab.update(to=step)
        lab.git("commit", "--quiet", "-m", step)

    assert not result.conflicts
    assert lab.read("app/money/sums.py") == f"{GROWN}\n\n{MORE}".replace("TAX = 19", "TAX = 7")
    assert not lab.exists("app/orders/service.py")
    assert not lab.exists("app/orders/sums.py")


def test_a_place_that_is_left_and_taken(lab: Lab) -> None:
    """A file may move to the path of another file that moves away, and the edits of both follow."""
    edit(lab)
    lab.replace("app/orders/router.py", ('PREFIX = "/orders"', 'PREFIX = "/mine"'))
    lab.commit()
    releases = {"0.2.0": {"files": {SERVICE_PY: SUMS_PY}}, "0.3.0": {"files": {ROUTER_PY: SERVICE_PY}}}
    lab.release({SERVICE_PY: None, SUMS_PY: GROWN})
    lab.release(
        {ROUTER_PY: None, SERVICE_PY: f"{ROUTER}\n\n{MORE}\n"},
        root={"upgrades.yml": yaml.safe_dump({"releases": releases})},
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == GROWN.replace("TAX = 19", "TAX = 7")
    assert 'PREFIX = "/mine"' in lab.read("app/orders/service.py")
    assert not lab.exists("app/orders/router.py")


def test_a_file_that_forwards(lab: Lab) -> None:
    """If the old path has a forwarding file, the edits follow to the new path and are removed from the old one."""
    edit(lab)
    lab.release({SERVICE_PY: SHIM, SUMS_PY: GROWN}, root=upgrades(files={SERVICE_PY: SUMS_PY}))

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == GROWN.replace("TAX = 19", "TAX = 7")
    assert lab.read("app/orders/service.py") == SHIM
    assert kinds(result) == {"app/orders/service.py": "added", "app/orders/sums.py": "moved"}


@pytest.mark.parametrize("place", [None, "app/money.py"], ids=["deleted", "moved"])
def test_a_file_that_forwards_to_what_the_user_has_not(lab: Lab, place: str | None) -> None:
    """A file that the user deleted or moved is not restored, and neither is its forwarding file."""
    lab.commit({"app/orders/service.py": None} | ({place: ORDERS} if place else {}))
    lab.release({SERVICE_PY: SHIM, SUMS_PY: GROWN}, root=upgrades(files={SERVICE_PY: SUMS_PY}))

    result = lab.update()

    lab.assert_clean(result)
    assert not lab.exists("app/orders/service.py")
    assert not lab.exists("app/orders/sums.py")
    if place:
        assert lab.read(place) == GROWN
        assert kinds(result) == {place: "changed", "app/orders/service.py": "deleted"}
    else:
        assert kinds(result) == {"app/orders/sums.py": "deleted", "app/orders/service.py": "deleted"}


def test_a_file_that_the_user_moved(lab: Lab) -> None:
    """A file that the user moved stays there and gets the change, although the template names another path."""
    lab.git("mv", "app/orders/service.py", "app/prices.py")
    lab.replace("app/prices.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: None, SUMS_PY: GROWN}, root=upgrades(files={SERVICE_PY: SUMS_PY}))

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/prices.py") == GROWN.replace("TAX = 19", "TAX = 7")
    assert not lab.exists("app/orders/sums.py")


def test_a_file_that_the_user_moved_past_one_of_their_own(lab: Lab) -> None:
    """A file that the user moved gets the change even if the template moves it onto a file of the user."""
    lab.git("mv", "app/orders/service.py", "app/prices.py")
    lab.commit({"app/orders/sums.py": "MINE = 1\n"})
    lab.release({SERVICE_PY: None, SUMS_PY: GROWN}, root=upgrades(files={SERVICE_PY: SUMS_PY}))

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/prices.py") == GROWN
    assert lab.read("app/orders/sums.py") == "MINE = 1\n"
    assert kinds(result) == {"app/prices.py": "changed"}


def test_a_file_of_the_users_own_is_in_the_way(lab: Lab) -> None:
    """A named move never overwrites a file of the user, and the report gives the reason."""
    edit(lab)
    lab.commit({"app/orders/sums.py": "MINE = 1\n"})
    lab.release({SERVICE_PY: None, SUMS_PY: GROWN}, root=upgrades(files={SERVICE_PY: SUMS_PY}))

    result = lab.update()

    lab.assert_conflict(result, "app/orders/sums.py")
    assert "MINE = 1" in lab.read("app/orders/sums.py")
    [kept] = [change for change in result.changes if change.path == "app/orders/service.py"]
    assert kept.kind == "kept"
    assert kept.note == "the template moved it to app/orders/sums.py, where something of yours is in the way"


@pytest.mark.parametrize(
    ("mine", "there"),
    [
        ({"app/orders/": "app/shop/"}, "app/shop/events.py"),
        ({"app/orders/router.py": "app/shop/router.py"}, "app/sales/events.py"),
    ],
    ids=["folder", "one-file"],
)
def test_a_new_file_in_a_folder_that_both_moved(lab: Lab, mine: dict[str, str], there: str) -> None:
    """A new file of a moved folder is added to the user's new folder, but a single moved file does not count."""
    for old, new in mine.items():
        (lab.path / new.rstrip("/")).parent.mkdir(exist_ok=True)
        lab.git("mv", old, new)
    lab.commit()
    sales = "{{ package_name }}/sales"
    lab.release(
        {
            "{{ package_name }}/orders/__init__.py": None,
            SERVICE_PY: None,
            ROUTER_PY: None,
            f"{sales}/__init__.py": "",
            f"{sales}/service.py": GROWN,
            f"{sales}/router.py": ROUTER,
            f"{sales}/events.py": "EVENTS = ()\n",
        },
        root=upgrades(files={"{{ package_name }}/orders/": f"{sales}/"}),
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(there) == "EVENTS = ()\n"
    for old, new in mine.items():
        router = new if old.endswith(".py") else f"{new}router.py"
        assert lab.read(router) == ROUTER


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"{{ nothing }}/a.py": "b.py"}, "the name '{{ nothing }}/a.py' cannot be rendered: it uses an answer"),
        ({"app/orders/": "app/shop"}, "'app/orders/' and 'app/shop': a folder needs a slash each"),
        ({"{{ ''.__class__.__mro__ }}": "b.py"}, "cannot be rendered"),
    ],
)
def test_names_that_cannot_be_used(lab: Lab, files: dict[str, str], fault: str) -> None:
    """A name that cannot be rendered, or that is not a folder, refuses the update before any change."""
    lab.release({MAIN_PY: "MAIN = 1\n"}, root=upgrades(files=files))

    with pytest.raises(QuicksetError, match=r"upgrades\.yml cannot be used") as raised:
        lab.update()

    assert fault in str(raised.value)
    assert lab.git("status", "--porcelain") == ""
