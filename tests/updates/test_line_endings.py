"""Moved files whose line endings the user changed to CRLF, or back."""

import pytest

from tests.updates.harness import NUMBERS, WINDOWS, Lab

FIXED = NUMBERS.replace("line 05", "theirs 5")


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def move(lab: Lab, old: str, new: str) -> None:
    (lab.path / new).parent.mkdir(parents=True, exist_ok=True)
    lab.git("mv", old, new)


@pytest.mark.parametrize("new", ["docs/numbers.txt", "lines.txt"])
@pytest.mark.parametrize("mine", [("line 40", "line 40"), ("line 40", "mine 40")], ids=["as it was", "edited"])
def test_user_moved(lab: Lab, new: str, mine: tuple[str, str]) -> None:
    """A file that the user moved and changed to CRLF gets the fix."""
    move(lab, "numbers.txt", new)
    lab.commit({new: crlf(NUMBERS.replace(*mine))})
    lab.release({"numbers.txt": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(new) == crlf(FIXED.replace(*mine))
    assert [change.path for change in result.changes if change.path != ".copier-answers.yml"] == [new]


@pytest.mark.parametrize("new", ["docs/numbers.txt", "lines.txt"])
def test_template_moved(lab: Lab, new: str) -> None:
    """A file with CRLF keeps its line endings and the user's edits when the template moves it."""
    lab.commit({"numbers.txt": crlf(NUMBERS.replace("line 40", "mine 40"))})
    lab.release({"numbers.txt": None, new: FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read(new) == crlf(FIXED.replace("line 40", "mine 40"))
    assert not lab.exists("numbers.txt")


def test_both_moved(lab: Lab) -> None:
    """If both sides move a file to one path, it keeps the user's line endings."""
    move(lab, "numbers.txt", "docs/numbers.txt")
    lab.commit({"docs/numbers.txt": crlf(NUMBERS)})
    lab.release({"numbers.txt": None, "docs/numbers.txt": FIXED})

    lab.assert_clean(lab.update())

    assert lab.read("docs/numbers.txt") == crlf(FIXED)


def test_folder_moved(lab: Lab) -> None:
    """A folder that the user renamed and changed to CRLF gets fixes and keeps CRLF."""
    lab.git("mv", "app/orders", "app/purchases")
    names = lab.git("ls-files", "app/purchases").split()
    before = {name: lab.read(name) for name in names}
    lab.commit({name: crlf(text) for name, text in before.items()})
    fixed = before["app/purchases/service.py"].replace("sum(prices)", "sum(prices, start=0)")
    lab.release({"{{ package_name }}/orders/service.py": fixed})

    lab.assert_clean(lab.update())

    assert lab.read("app/purchases/service.py") == crlf(fixed)


def test_to_lf(lab: Lab) -> None:
    """A CRLF file of the template that the user moved and changed to LF gets the fix in LF."""
    move(lab, "windows.txt", "docs/rows.txt")
    lab.commit({"docs/rows.txt": WINDOWS.replace("\r\n", "\n")})
    lab.release({"windows.txt": WINDOWS.replace("row 05", "theirs 5")})

    lab.assert_clean(lab.update())

    assert lab.read("docs/rows.txt") == WINDOWS.replace("row 05", "theirs 5").replace("\r\n", "\n")


def test_mostly_crlf(lab: Lab) -> None:
    """A few lines with different endings do not make the whole file a conflict."""
    lines = crlf(NUMBERS).replace("line 40\r\n", "line 40\nmine\n")
    lab.commit({"numbers.txt": lines})
    lab.release({"numbers.txt": FIXED})

    lab.assert_clean(lab.update())

    assert lab.read("numbers.txt") == lines.replace("line 05", "theirs 5")


def test_both_added(lab: Lab) -> None:
    """A file that both sides added, equal except for line endings, stays as it is without a conflict."""
    lab.commit({"added.txt": crlf(NUMBERS)})
    lab.release({"added.txt": NUMBERS})

    lab.assert_clean(lab.update())

    assert lab.read("added.txt") == crlf(NUMBERS)


def test_conflict_stays_small(lab: Lab) -> None:
    """A conflict in a moved file with CRLF covers only the lines in question."""
    name = "docs/numbers.txt"
    move(lab, "numbers.txt", name)
    committed = crlf(NUMBERS.replace("line 05", "mine 5"))
    lab.commit({name: committed})
    lab.release({"numbers.txt": FIXED})

    lab.assert_conflict(lab.update(), name)

    text = lab.read(name)
    assert text.count("line 30") == 1
    assert "mine 5\r\n" in text
    assert "theirs 5\r\n" in text
    lab.git("checkout", "--ours", "--", name)
    assert lab.read(name) == committed
