"""Files with a git filter of the user, such as those of git-lfs and git-crypt."""

import base64

import pytest

from quickset.errors import ConflictError
from tests.updates.harness import BLOCKS, NUMBERS, PICTURE, Lab, has_markers, kinds, refusal

ATTRIBUTES = "*.txt filter=base64\n*.png filter=base64\n"
FIXED = NUMBERS.replace("line 05", "theirs 5")


def encoded(content: str | bytes) -> bytes:
    return base64.b64encode(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """A service that stores text files and images encoded, so that a stored file has a single line."""
    lab.git("config", "--global", "filter.base64.clean", "base64 --wrap=0")
    lab.git("config", "--global", "filter.base64.smudge", "base64 --decode")
    lab.git("config", "--global", "filter.base64.required", "true")
    lab.commit({".gitattributes": ATTRIBUTES})
    lab.git("add", "--renormalize", ".")
    lab.git("commit", "--quiet", "--allow-empty", "--message", "Encode")
    assert lab.git("cat-file", "blob", "HEAD:numbers.txt").encode() == encoded(NUMBERS)
    return lab


def commit(lab: Lab) -> None:
    """Commit the staged result of an update, and require that nothing else is changed."""
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""
    lab.git("rm", "--quiet", "-r", "--cached", ".")
    lab.git("add", "--all")
    assert lab.git("status", "--porcelain") == ""


def test_added(lab: Lab) -> None:
    """A file that the template adds is stored as `git add` stores it."""
    lab.release({"added.txt": FIXED, "added.png": PICTURE, "plain.md": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert result.notes == ()
    assert lab.read("added.txt") == FIXED
    assert lab.staged("added.txt") == encoded(FIXED)
    assert lab.staged("added.png") == encoded(PICTURE)
    assert lab.staged("plain.md") == FIXED.encode()
    commit(lab)


def test_untouched(lab: Lab) -> None:
    """A file that the user did not touch follows the template, even if either side moved it."""
    lab.git("mv", "latin.txt", "old.txt")
    lab.commit()
    latin = lab.read_bytes("old.txt") + b"theirs\n"
    lab.release({"numbers.txt": FIXED, "unended.txt": None, "moved.txt": lab.read("unended.txt"), "latin.txt": latin})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "changed", "moved.txt": "moved", "old.txt": "changed"}
    assert lab.read("numbers.txt") == FIXED
    assert lab.staged("numbers.txt") == encoded(FIXED)
    assert lab.read_bytes("old.txt") == latin
    commit(lab)


def test_merged(lab: Lab) -> None:
    """Edits of both sides in different lines are merged as text and stored through the filter."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release({"numbers.txt": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "merged"}
    assert lab.read("numbers.txt") == FIXED.replace("line 40", "mine 40")
    assert lab.staged("numbers.txt") == encoded(FIXED.replace("line 40", "mine 40"))
    commit(lab)


def test_moved_and_edited(lab: Lab) -> None:
    """A file that the user moved and edited gets the fix, although its stored forms have nothing in common."""
    lab.git("mv", "numbers.txt", "mine.txt")
    lab.commit({"mine.txt": NUMBERS.replace("line 40", "mine 40"), "own.txt": "quite another\n"})
    lab.release({"numbers.txt": FIXED})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"mine.txt": "merged"}
    assert lab.read("mine.txt") == FIXED.replace("line 40", "mine 40")
    assert lab.staged("mine.txt") == encoded(FIXED.replace("line 40", "mine 40"))
    commit(lab)


def test_conflict(lab: Lab) -> None:
    """A conflict has readable markers and stages that git can check out. `--abort` leaves nothing behind."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5"), "both.txt": "mine\n"})
    before = lab.snapshot()
    committed = lab.git("cat-file", "blob", "HEAD:numbers.txt")
    lab.release({"numbers.txt": FIXED, "both.txt": "theirs\n"})

    lab.assert_conflict(lab.update(), "both.txt", "numbers.txt")

    text = lab.read("numbers.txt")
    assert has_markers(text.encode())
    assert "mine 5\n" in text
    assert "theirs 5\n" in text
    assert has_markers(lab.read_bytes("both.txt"))
    assert lab.git("cat-file", "blob", ":2:numbers.txt") == committed
    assert lab.git("cat-file", "blob", ":1:numbers.txt").encode() == encoded(NUMBERS)
    lab.abort()
    assert lab.snapshot() == before
    lab.update()
    lab.git("checkout", "--theirs", "--", "numbers.txt")
    assert lab.read("numbers.txt") == FIXED
    lab.write({"both.txt": "both\n"})
    lab.git("add", "--all")
    lab.resume()
    assert lab.at() == lab.version
    commit(lab)


def test_markers_are_seen(lab: Lab) -> None:
    """A file that is added with conflict markers blocks `--continue`, although its stored form shows none."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    lab.release({"numbers.txt": FIXED})
    lab.update()
    lab.git("add", "--all")

    with pytest.raises(ConflictError, match=r"numbers\.txt"):
        lab.resume()


def test_committed_before_the_filter(lab: Lab) -> None:
    """A file that was committed without the filter stays that way until the template changes it."""
    lab.git("config", "--global", "filter.base64.required", "false")
    lab.write({".gitattributes": f"{ATTRIBUTES}*.yaml filter=base64\n"})
    lab.git("commit", "--quiet", "--message", "More", "--", ".gitattributes")
    lab.release({"numbers.txt": FIXED})
    result = lab.update()
    lab.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "changed"}
    lab.git("commit", "--quiet", "--message", "Update")
    lab.release({"blocks.yaml": f"{BLOCKS}# theirs\n"})

    result = lab.update()

    assert kinds(result) == {"blocks.yaml": "changed"}
    assert lab.staged("blocks.yaml") == encoded(f"{BLOCKS}# theirs\n")


def test_template_names_the_filter(lab: Lab) -> None:
    """Files that a release adds together with the attributes of a filter are stored through it."""
    lab.commit({"blocks.yaml": BLOCKS.replace("number: 1", "number: 10")})
    theirs = BLOCKS.replace("number: 8", "number: 80")
    lab.commit({"docs/mine.cfg": "mine\n"})
    lab.release({"docs/.gitattributes.jinja": "*.cfg filter=base64\n", "docs/added.cfg": FIXED})
    result = lab.update()
    lab.assert_clean(result)
    assert [note for note in result.notes if "--renormalize" in note]
    assert lab.staged("docs/added.cfg") == encoded(FIXED)
    lab.git("add", "--renormalize", ".")
    assert lab.staged("docs/mine.cfg") == encoded("mine\n")
    commit(lab)
    lab.release({".gitattributes.jinja": f"{ATTRIBUTES}*.yaml filter=base64\n", "blocks.yaml": theirs})

    lab.assert_conflict(lab.update(), ".gitattributes")

    assert lab.staged("blocks.yaml").decode() == theirs.replace("number: 1\n", "number: 10\n")


def test_filter_fails(lab: Lab) -> None:
    """A filter that fails ends only an update that needs it, and before any change."""
    lab.git("config", "--global", "filter.base64.clean", "false")
    lab.release({"plain.md": FIXED})
    lab.assert_clean(lab.update())
    lab.commit()
    before = lab.snapshot()
    lab.release({"added.txt": FIXED})

    error = refusal(lab.update)

    assert str(error).startswith("added.txt cannot be stored: ")
    assert str(error).endswith("Nothing was touched.")
    assert lab.snapshot() == before


@pytest.mark.parametrize("program", ["clean", "smudge", "process"])
@pytest.mark.parametrize("required", ["true", "false"])
def test_filter_is_missing(lab: Lab, capfd: pytest.CaptureFixture[str], program: str, required: str) -> None:
    """A missing filter program is reported in one line with its file, without git's own message."""
    lab.git("config", "--global", f"filter.base64.{program}", "missing-program --of-mine")
    lab.git("config", "--global", "filter.base64.required", required)
    lab.release({"added.txt": FIXED})
    head = lab.git("rev-parse", "HEAD")
    capfd.readouterr()

    if required == "false" and program != "process":
        lab.assert_clean(lab.update())
        return
    error = str(refusal(lab.update))

    assert "'base64' for added.txt failed" in error
    assert "missing-program" in error
    assert "\n" not in error
    assert capfd.readouterr().err == ""
    assert lab.git("rev-parse", "HEAD") == head
    assert not lab.exists("added.txt")
    assert not lab.journal.exists()


def test_preview_stores_nothing(lab: Lab) -> None:
    """A preview writes no object to the user's repository."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.release({"numbers.txt": FIXED, "added.txt": FIXED})
    before = lab.git("count-objects")

    result = lab.preview()

    assert kinds(result) == {"numbers.txt": "merged", "added.txt": "added"}
    assert lab.git("count-objects") == before


@pytest.mark.parametrize(
    ("attributes", "content", "stored"),
    [
        ("*.cfg text\n", b"one\r\ntwo\r\n", b"one\ntwo\n"),
        ("*.cfg working-tree-encoding=UTF-16LE\n", "größe\n".encode("utf-16-le"), "größe\n".encode()),
        ("*.cfg ident\n", b"$Id: theirs $\n", b"$Id$\n"),
    ],
    ids=["line endings", "encoding", "keyword"],
)
def test_other_conversions(lab: Lab, attributes: str, content: bytes, stored: bytes) -> None:
    """Other conversions also apply to the template's files: a new file is stored converted and counts as unmodified."""
    lab.commit({".gitattributes": ATTRIBUTES + attributes})
    lab.release({"added.cfg": content})
    lab.assert_clean(lab.update())
    assert lab.staged("added.cfg") == stored
    commit(lab)
    lab.release({"added.cfg": content * 2})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"added.cfg": "changed"}
    assert lab.staged("added.cfg") == stored * 2
    commit(lab)
