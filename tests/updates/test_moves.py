"""Files that either side moved, added or deleted."""

import pytest

from tests.updates.harness import (
    MAIN,
    MAIN_PY,
    NUMBERS,
    ORDERS,
    ROUTER,
    ROUTER_PY,
    SERVICE_PY,
    SETTINGS,
    SETTINGS_PY,
    Lab,
    kinds,
    same,
)

FIXED = ORDERS.replace("return sum(prices)", "return sum(prices, start=0)")


def moves(lab: Lab, old: str, new: str) -> None:
    (lab.path / new).parent.mkdir(parents=True, exist_ok=True)
    lab.git("mv", old, new)


@pytest.mark.parametrize("new", ["app/orders/sums.py", "app/money/service.py", "lib/sums.py"])
def test_user_moved_a_file(lab: Lab, new: str) -> None:
    """The template's fix goes into the file that the user moved, and the old path stays removed."""
    moves(lab, "app/orders/service.py", new)
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(new) == FIXED
    assert not lab.exists("app/orders/service.py")
    assert [change.path for change in result.changes if change.path.endswith(".py")] == [new]


def test_user_moved_and_edited(lab: Lab) -> None:
    """A moved file keeps the user's edits together with the template's fix."""
    moves(lab, "app/orders/service.py", "app/orders/sums.py")
    lab.replace("app/orders/sums.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == FIXED.replace("TAX = 19", "TAX = 7")
    assert not lab.exists("app/orders/service.py")


def test_user_moved_and_conflicts(lab: Lab) -> None:
    """A conflict in a moved file is at its new path."""
    moves(lab, "app/orders/service.py", "app/orders/sums.py")
    lab.replace("app/orders/sums.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: ORDERS.replace("TAX = 19", "TAX = 20")})

    result = lab.update()

    lab.assert_conflict(result, "app/orders/sums.py")
    assert not lab.exists("app/orders/service.py")
    assert "TAX = 7" in lab.read("app/orders/sums.py")
    assert "TAX = 20" in lab.read("app/orders/sums.py")


def test_user_moved_a_folder(lab: Lab) -> None:
    """Fixes follow a folder that the user renamed, and a file that the template adds there is not lost."""
    lab.git("mv", "app/orders", "app/purchases")
    lab.commit()
    lab.release({SERVICE_PY: FIXED, "{{ package_name }}/orders/events.py": "EVENTS = ()\n"})

    result = lab.update()

    assert lab.read("app/purchases/service.py") == FIXED
    assert not lab.exists("app/orders/service.py")
    assert lab.exists("app/purchases/events.py") or lab.exists("app/orders/events.py")
    if not result.conflicts:
        lab.assert_clean(result)


def test_user_moved_the_package(lab: Lab) -> None:
    """Fixes follow a package that the user renamed by hand, with its changed imports."""
    lab.git("mv", "app", "shop")
    lab.replace("shop/main.py", ("from app.core", "from shop.core"))
    lab.commit()
    lab.release(
        {
            SERVICE_PY: FIXED,
            SETTINGS_PY: SETTINGS.replace("8000", "8080"),
            MAIN_PY: MAIN.replace("from app.", "from {{ package_name }}.").replace("/health/live", "/live"),
        }
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("shop/orders/service.py") == FIXED
    assert "port: int = 8080" in lab.read("shop/core/settings.py")
    assert lab.read("shop/main.py") == MAIN.replace("from app.", "from shop.").replace("/health/live", "/live")
    assert not lab.exists("app/main.py")


def test_template_renamed(lab: Lab) -> None:
    """A file that the template renamed is only at its new path."""
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": ORDERS})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == ORDERS
    assert not lab.exists("app/orders/service.py")


def test_template_renamed_what_the_user_edited(lab: Lab) -> None:
    """A file that the template renamed has the user's edits at its new path."""
    lab.replace("app/orders/service.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == FIXED.replace("TAX = 19", "TAX = 7")
    assert not lab.exists("app/orders/service.py")
    [change] = [change for change in result.changes if change.path == "app/orders/sums.py"]
    assert change.kind == "moved"
    assert change.source == "app/orders/service.py"


def test_template_renamed_over_a_users_file(lab: Lab) -> None:
    """A rename by the template never overwrites a file of the user at the new path."""
    lab.commit({"app/orders/sums.py": '"""Mine, and quite another thing."""\n\nSUMS = {"mine": 1}\n'})
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED})

    lab.update()

    assert 'SUMS = {"mine": 1}' in lab.read("app/orders/sums.py")


def test_both_renamed_alike(lab: Lab) -> None:
    """A rename by both sides to the same path is not a conflict."""
    moves(lab, "app/orders/service.py", "app/orders/sums.py")
    lab.replace("app/orders/sums.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/sums.py") == FIXED.replace("TAX = 19", "TAX = 7")


def test_both_renamed_otherwise(lab: Lab) -> None:
    """If the sides rename a file to different paths, the user's edit and the template's are kept."""
    moves(lab, "app/orders/service.py", "app/orders/mine.py")
    lab.replace("app/orders/mine.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED})

    lab.update()

    content = "".join(path.read_text() for path in (lab.path / "app" / "orders").glob("*.py"))
    assert "TAX = 7" in content
    assert "start=0" in content


def test_template_deleted(lab: Lab) -> None:
    """A file that the template deletes is removed if it has no edits, and so is its empty folder."""
    lab.release(
        {
            SERVICE_PY: None,
            ROUTER_PY: None,
            "{{ package_name }}/orders/__init__.py": None,
        }
    )

    result = lab.update()

    lab.assert_clean(result)
    assert not lab.exists("app/orders")
    assert set(kinds(result).values()) == {"removed"}


def test_template_deleted_what_the_user_edited(lab: Lab) -> None:
    """A file that the template deletes is kept and reported if the user edited it."""
    lab.replace("app/orders/service.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: None})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/service.py") == ORDERS.replace("TAX = 19", "TAX = 7")
    assert kinds(result) == {"app/orders/service.py": "kept"}
    assert lab.git("ls-files", "app/orders/service.py").strip() == "app/orders/service.py"


def test_template_deleted_beside_a_users_file(lab: Lab) -> None:
    """A user's file in a folder stays when the template's files in it are removed."""
    lab.commit({"app/orders/mine.py": "MINE = 1\n"})
    lab.release({SERVICE_PY: None, ROUTER_PY: None, "{{ package_name }}/orders/__init__.py": None})

    lab.assert_clean(lab.update())

    assert lab.read("app/orders/mine.py") == "MINE = 1\n"
    assert not lab.exists("app/orders/service.py")


def test_user_deleted_what_the_template_changed(lab: Lab) -> None:
    """A file that the user deleted stays deleted without a conflict and is reported."""
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert not lab.exists("app/orders/service.py")
    assert kinds(result) == {"app/orders/service.py": "deleted"}


def test_user_deleted_what_the_template_renamed(lab: Lab) -> None:
    """A file that the user deleted and the template renamed does not return without a report."""
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: None, "{{ package_name }}/orders/sums.py": FIXED})

    result = lab.update()

    assert not lab.exists("app/orders/service.py")
    assert not lab.exists("app/orders/sums.py")
    assert set(kinds(result).values()) == {"deleted"}


def test_both_deleted(lab: Lab) -> None:
    """A file that both sides deleted is removed, and nothing else changes."""
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: None})

    lab.assert_clean(lab.update())

    assert not lab.exists("app/orders/service.py")


def test_deleted_stays_deleted_for_good(lab: Lab) -> None:
    """A file that the user deleted stays deleted in a second update that changes it again."""
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED})
    lab.update()
    lab.git("commit", "--quiet", "--message", "Update")
    lab.release({SERVICE_PY: FIXED + "# more\n"})

    lab.assert_clean(lab.update())

    assert not lab.exists("app/orders/service.py")


def test_template_added(lab: Lab) -> None:
    """A new file of the template is added and staged."""
    lab.release({"{{ package_name }}/health/live.py": "LIVE = True\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"app/health/live.py": "added"}
    assert lab.staged("app/health/live.py") == b"LIVE = True\n"


def test_both_added_the_same(lab: Lab) -> None:
    """A file that both sides added with equal content is not a conflict."""
    lab.commit({"app/live.py": "LIVE = True\n"})
    lab.release({"{{ package_name }}/live.py": "LIVE = True\n"})

    lab.assert_clean(lab.update())

    assert lab.read("app/live.py") == "LIVE = True\n"


def test_both_added_otherwise(lab: Lab) -> None:
    """A file that both sides added with different content keeps the user's lines."""
    lab.commit({"app/live.py": "LIVE = 'mine'\n"})
    lab.release({"{{ package_name }}/live.py": "LIVE = 'theirs'\n"})

    result = lab.update()

    assert "LIVE = 'mine'" in lab.read("app/live.py")
    if result.conflicts:
        lab.assert_conflict(result, "app/live.py")
        assert lab.stages() == {"app/live.py": {2, 3}}
        assert "LIVE = 'theirs'" in lab.read("app/live.py")
    else:
        assert kinds(result) == {"app/live.py": "kept"}


def test_look_alike_gets_no_fix(lab: Lab) -> None:
    """An older, similar file of the user does not receive the fix of a file that the user deleted later."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar})
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/mine.py") == similar
    assert kinds(result) == {"app/orders/service.py": "deleted"}


def test_look_alike_from_before_the_last_update(lab: Lab) -> None:
    """A similar file that existed at the last update does not receive the fix."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})
    lab.update()
    lab.commit(message="Update")
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/mine.py") == similar
    assert kinds(result) == {"app/orders/service.py": "deleted"}


def test_look_alike_of_the_template_gets_no_fix(lab: Lab) -> None:
    """A file of the template does not receive the fix of a similar file that the user deleted."""
    assert lab.read("numbers.txt") == NUMBERS
    unicode = "größe/naïve ☃.txt"
    lab.commit({"numbers.txt": None})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(unicode) == NUMBERS
    assert not lab.exists("numbers.txt")
    assert kinds(result) == {"numbers.txt": "deleted"}


def test_look_alike_edited_gets_no_fix(lab: Lab) -> None:
    """A file that the user edited does not receive the fix of a similar file that the user deleted."""
    unicode = "größe/naïve ☃.txt"
    lab.commit({"numbers.txt": None, unicode: NUMBERS.replace("line 40", "mine 40")})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(unicode) == NUMBERS.replace("line 40", "mine 40")
    assert not lab.exists("numbers.txt")


def test_swap(lab: Lab) -> None:
    """Two files whose names the user swapped lose nothing."""
    lab.write({"app/orders/service.py": lab.read("app/orders/router.py"), "app/orders/router.py": ORDERS + "# mine\n"})
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    lab.update()

    content = lab.read("app/orders/service.py") + lab.read("app/orders/router.py")
    assert "# mine" in content
    assert "def delete_order" in content


def test_only_the_case_changes(lab: Lab) -> None:
    """A rename by the template that changes only the case keeps the user's edit."""
    lab.replace("README.md", ("Run it.", "Run it here."))
    lab.commit()
    text = (lab.origin / "template" / "README.md.jinja").read_text()
    lab.release({"README.md.jinja": None, "Readme.md.jinja": text})

    lab.assert_clean(lab.update())

    assert "Run it here." in lab.read("Readme.md")


def test_file_and_folder_change_places(lab: Lab) -> None:
    """A template may replace a folder with a file, and a file with a folder."""
    lab.release(
        {
            "größe/naïve ☃.txt": None,
            "größe": "now a file\n",
            "blocks.yaml": None,
            "blocks.yaml/one.txt": "now a folder\n",
        }
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("größe") == "now a file\n"
    assert lab.read("blocks.yaml/one.txt") == "now a folder\n"


def test_look_alike_after_an_earlier_deletion(lab: Lab) -> None:
    """A similar file is not changed if another file of the template was deleted before the last update."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar, "app/orders/router.py": None})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})
    lab.update()
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED, ROUTER_PY: "# new\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/mine.py") == similar
    assert kinds(result) == {"app/orders/router.py": "deleted", "app/orders/service.py": "deleted"}


def test_look_alike_of_what_a_merge_deleted(lab: Lab) -> None:
    """A similar file is not changed if a merge commit deleted the original."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar})
    lab.git("switch", "--quiet", "--create", "topic")
    lab.commit({"topic.txt": "topic\n"})
    lab.git("switch", "--quiet", "-")
    lab.commit({"other.txt": "other\n"})
    lab.git("merge", "--quiet", "--no-commit", "--no-ff", "topic")
    lab.commit({"app/orders/service.py": None})
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/mine.py") == similar
    assert kinds(result) == {"app/orders/service.py": "deleted"}


def test_look_alike_that_was_renamed_since(lab: Lab) -> None:
    """A similar file is not changed under a new name."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar})
    lab.commit({"app/orders/service.py": None})
    moves(lab, "app/mine.py", "app/own.py")
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    assert lab.read("app/own.py") == similar
    assert kinds(result) == {"app/orders/service.py": "deleted"}


@pytest.mark.parametrize("copied", [ORDERS, ORDERS.replace("Orders", "Mine")], ids=["unchanged", "edited"])
@pytest.mark.parametrize("edit", [("", ""), ("TAX = 19", "TAX = 7")], ids=["renamed", "renamed and edited"])
def test_copy_that_was_renamed_since(lab: Lab, copied: str, edit: tuple[str, str]) -> None:
    """A copy, edited or not, is not changed under any later name."""
    lab.commit({"app/mine.py": copied})
    lab.commit({"app/orders/service.py": None})
    moves(lab, "app/mine.py", "app/own.py")
    mine = copied.replace(*edit)
    lab.commit({"app/own.py": mine})
    moves(lab, "app/own.py", "app/last.py")
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    assert lab.read("app/last.py") == mine
    assert kinds(result) == {"app/orders/service.py": "deleted"}


def test_moved_twice_next_to_a_copy(lab: Lab) -> None:
    """The fix goes into the file that was moved twice, and not into its copy."""
    lab.commit({"app/mine.py": ORDERS})
    moves(lab, "app/orders/service.py", "app/sums.py")
    lab.commit()
    moves(lab, "app/sums.py", "lib/sums.py")
    lab.replace("lib/sums.py", ("TAX = 19", "TAX = 7"))
    lab.commit()
    lab.release({SERVICE_PY: FIXED})

    lab.assert_clean(lab.update())

    assert lab.read("app/mine.py") == ORDERS
    assert "start=0" in lab.read("lib/sums.py")


def test_moved_on_a_branch_next_to_a_look_alike(lab: Lab) -> None:
    """The fix goes into a file that a merged branch moved, even if an older file is more similar."""
    lab.commit({"app/mine.py": ORDERS.replace("Orders", "Mine")})
    lab.git("switch", "--quiet", "--create", "topic")
    moves(lab, "app/orders/service.py", "app/sums.py")
    lab.replace("app/sums.py", ("TAX = 19", "TAX = 7"), ("order {reference}", "number {reference}"))
    lab.commit()
    lab.git("switch", "--quiet", "-")
    lab.commit({"other.txt": "other\n"})
    lab.git("merge", "--quiet", "--no-ff", "--no-edit", "topic")
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert "start=0" in lab.read("app/sums.py")
    assert "start=0" not in lab.read("app/mine.py")


def test_user_moved_and_edited_among_many_files(lab: Lab) -> None:
    """A moved and edited file gets its fix among any number of files."""
    moves(lab, "app/orders/service.py", "app/sums.py")
    lab.replace("app/sums.py", ("TAX = 19", "TAX = 7"))
    lab.commit({f"app/own/module_{number}.py": f"NUMBER = {number}\n" for number in range(1100)})
    lab.release({SERVICE_PY: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/sums.py") == FIXED.replace("TAX = 19", "TAX = 7")
    [change] = [change for change in result.changes if change.path == "app/sums.py"]
    assert (change.kind, change.note) == ("merged", "you moved it from app/orders/service.py")
    assert kinds(result) == {"app/sums.py": "merged"}


def test_template_renamed_a_folder_with_a_users_file(lab: Lab) -> None:
    """A folder that the template renames leaves the user's own files in place."""
    lab.commit({"app/orders/mine.py": "MINE = 1\n", "numbers.txt": None})
    lab.release(
        {
            "{{ package_name }}/orders/__init__.py": None,
            SERVICE_PY: None,
            ROUTER_PY: None,
            "{{ package_name }}/sales/__init__.py": "",
            "{{ package_name }}/sales/service.py": FIXED,
            "{{ package_name }}/sales/router.py": ROUTER,
            "numbers.txt": NUMBERS.replace("line 05", "theirs 5"),
        }
    )

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/orders/mine.py") == "MINE = 1\n"
    assert not lab.exists("app/sales/mine.py")
    assert kinds(result) == {
        "app/orders/__init__.py": "removed",
        "app/sales/__init__.py": "added",
        "app/sales/router.py": "moved",
        "app/sales/service.py": "moved",
        "numbers.txt": "deleted",
    }


def test_template_makes_a_folder_of_an_edited_file(lab: Lab) -> None:
    """An edited file that a folder of the template replaces is a conflict with the reason."""
    lab.commit({"run.sh": "#!/bin/sh\n# quite another program\n"})
    before = lab.snapshot()
    lab.release({"run.sh": None, "run.sh/start.txt": "Start it.\n"})

    result = lab.update()

    lab.assert_conflict(result, "run.sh~yours")
    assert lab.read("run.sh~yours") == "#!/bin/sh\n# quite another program\n"
    assert lab.read("run.sh/start.txt") == "Start it.\n"
    reported = [(change.source, change.path, change.kind, change.note) for change in result.changes[1:]]
    assert reported == [
        (None, "run.sh/start.txt", "added", ""),
        ("run.sh", "run.sh~yours", "conflict", "the template's folder run.sh/ has its place"),
    ]
    lab.abort()
    same(lab.snapshot(), before)
    lab.update()
    lab.git("rm", "--quiet", "run.sh~yours")
    assert lab.resume().notes == ()
    assert lab.at() == lab.version


@pytest.mark.parametrize(("old", "new"), [("run", "run/main"), ("tools/run", "tools")])
def test_template_moved_a_file_into_a_folder_of_its_name(lab: Lab, old: str, new: str) -> None:
    """An edited file can move into a new folder with its old name, or take the place of its folder."""
    lab.release({old: NUMBERS})
    lab.update()
    lab.commit({old: NUMBERS.replace("line 05", "mine 5")})
    before = lab.snapshot()
    (lab.origin / "template" / old).unlink()
    if new == "tools":
        (lab.origin / "template" / "tools").rmdir()
    lab.release({new: NUMBERS.replace("line 40", "theirs 40")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(new) == NUMBERS.replace("line 05", "mine 5").replace("line 40", "theirs 40")
    assert [(change.source, change.path, change.kind) for change in result.changes[1:]] == [(old, new, "moved")]
    lab.git("reset", "--quiet", "--hard")
    same(lab.snapshot(), before)


def test_user_made_a_folder_of_a_file(lab: Lab) -> None:
    """A file that the user replaced with a folder counts as deleted."""
    lab.commit({"numbers.txt": None})
    lab.commit({"numbers.txt/mine.txt": "mine\n"})
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "theirs 5")})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "deleted"}
    assert lab.git("status", "--porcelain").split() == ["M", ".copier-answers.yml"]


@pytest.mark.parametrize(
    ("mine", "theirs", "aside", "whose"),
    [("new", "new/theirs.txt", "new~yours", "the template's"), ("new/mine.txt", "new", "new~{version}", "your")],
)
@pytest.mark.parametrize("command", [("add",), ("rm", "--quiet", "--cached")])
def test_file_in_the_place_of_a_folder(
    lab: Lab, mine: str, theirs: str, aside: str, whose: str, command: tuple[str, ...]
) -> None:
    """A file in the place of the other side's folder is a conflict, and `--continue` reports the remaining file."""
    lab.commit({mine: "mine\n"})
    version = lab.release({theirs: "theirs\n"})
    aside = aside.format(version=f"v{version}")

    result = lab.update()

    lab.assert_conflict(result, aside)
    [change] = [change for change in result.changes if change.kind == "conflict"]
    assert (change.source, change.path, change.note) == ("new", aside, f"{whose} folder new/ has its place")
    lab.git(*command, aside)
    [note] = lab.resume().notes
    assert note.startswith(f"{aside} is still there: ")


@pytest.mark.parametrize(
    ("mine", "new", "aside"),
    [
        ("app/sums/mine.txt", "sums", "app/sums~v0.2.0"),
        ("app/sums", "sums/service.py", "app/sums~yours"),
        ("app/orders/router.py", "orders/router.py/service.py", "app/orders/router.py~yours"),
    ],
)
def test_template_moved_a_file_to_where_a_folder_is(lab: Lab, mine: str, new: str, aside: str) -> None:
    """If the template moves a file to a path that the user's files occupy, that path is a conflict."""
    edited = ORDERS.replace("TAX = 19", "TAX = 7")
    lab.commit({mine: "mine\n", "app/orders/service.py": edited})
    lab.release({SERVICE_PY: None, ROUTER_PY: None, f"{{{{ package_name }}}}/{new}": FIXED})

    result = lab.update()

    lab.assert_conflict(result, aside)
    assert lab.read("app/orders/service.py") == edited
    assert kinds(result)["app/orders/service.py"] == "kept"
    assert kinds(result)[aside] == "conflict"


def test_same_change(lab: Lab) -> None:
    """A change that the user already has is reported as such."""
    lab.commit({"app/orders/service.py": FIXED, "numbers.txt": None, "app/live.py": "LIVE = True\n"})
    lab.release({SERVICE_PY: FIXED, "numbers.txt": None, "{{ package_name }}/live.py": "LIVE = True\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"app/live.py": "yours", "app/orders/service.py": "yours", "numbers.txt": "yours"}


def test_user_moved_what_the_template_removed(lab: Lab) -> None:
    """A file that the user moved is kept when the template removes it."""
    moves(lab, "app/orders/service.py", "app/sums.py")
    lab.commit()
    lab.release({SERVICE_PY: None})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("app/sums.py") == ORDERS
    assert kinds(result) == {"app/sums.py": "kept"}


def test_user_moved_to_the_name_of_a_new_file(lab: Lab) -> None:
    """A new file of the template conflicts with a file that the user moved to its path."""
    moves(lab, "app/orders/service.py", "app/sums.py")
    lab.commit()
    lab.release({SERVICE_PY: FIXED, "{{ package_name }}/sums.py": "SUMS = ()\n"})

    result = lab.update()

    lab.assert_conflict(result, "app/sums.py")
    assert kinds(result) == {"app/orders/service.py": "deleted", "app/sums.py": "conflict"}
