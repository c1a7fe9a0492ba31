"""Edits on both sides of one file."""

from pathlib import Path

import pytest

from tests.updates.harness import (
    BLOCKS,
    LATIN,
    NUMBERS,
    PICTURE,
    SCRIPT,
    UNENDED,
    UNICODE,
    WINDOWS,
    Lab,
    has_markers,
    kinds,
    markers,
)


def change(text: str, *numbers: int, by: str) -> str:
    """Change lines of a numbered text and keep their line endings."""
    lines = text.splitlines(keepends=True)
    for number in numbers:
        end = lines[number - 1][len(lines[number - 1].rstrip("\r\n")) :]
        lines[number - 1] = f"{by} {number}{end}"
    return "".join(lines)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [((3,), (55,)), ((20, 40), (1, 30, 60)), ((20,), (24,)), ((20,), (22,))],
    ids=["far", "between", "near", "a line apart"],
)
def test_apart(lab: Lab, mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    """Edits of different lines are both kept and staged, and the recorded version advances."""
    head = lab.commit({"numbers.txt": change(NUMBERS, *mine, by="mine")})
    lab.release({"numbers.txt": change(NUMBERS, *theirs, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "merged"}
    assert lab.read("numbers.txt") == change(change(NUMBERS, *mine, by="mine"), *theirs, by="theirs")
    assert lab.staged("numbers.txt") == lab.read_bytes("numbers.txt")
    assert lab.git("rev-parse", "HEAD").strip() == head


def test_untouched(lab: Lab) -> None:
    """A file that the user did not touch follows the template. Only the answers change besides."""
    before = lab.snapshot()
    lab.release({"numbers.txt": change(NUMBERS, 5, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert (result.before.removeprefix("v"), result.after.removeprefix("v")) == ("0.1.0", "0.2.0")
    assert kinds(result) == {"numbers.txt": "changed"}
    after = lab.snapshot()
    assert {name for name in after.files if after.files[name] != before.files.get(name)} == {
        "numbers.txt",
        ".copier-answers.yml",
    }
    assert after.head == before.head


def test_nothing_new(lab: Lab) -> None:
    """An update to the recorded version changes nothing."""
    before = lab.snapshot()

    result = lab.update()

    assert kinds(result) == {}
    assert lab.snapshot() == before


@pytest.mark.parametrize(("mine", "theirs"), [(20, 21), (21, 20)], ids=["mine above", "mine below"])
def test_adjacent(lab: Lab, mine: int, theirs: int) -> None:
    """Edits of adjacent lines are both there, merged or in a conflict."""
    lab.commit({"numbers.txt": change(NUMBERS, mine, by="mine")})
    lab.release({"numbers.txt": change(NUMBERS, theirs, by="theirs")})

    result = lab.update()

    text = lab.read("numbers.txt")
    assert f"mine {mine}\n" in text
    assert f"theirs {theirs}\n" in text
    if result.conflicts:
        lab.assert_conflict(result, "numbers.txt")


def test_same_line(lab: Lab) -> None:
    """Two edits of one line are a git conflict with three stages and with markers that name both sides."""
    lab.commit({"numbers.txt": change(NUMBERS, 20, by="mine")})
    lab.release({"numbers.txt": change(NUMBERS, 20, 50, by="theirs"), "blocks.yaml": "- one\n"})

    result = lab.update()

    lab.assert_conflict(result, "numbers.txt")
    assert kinds(result) == {"numbers.txt": "conflict", "blocks.yaml": "changed"}
    assert lab.stages() == {"numbers.txt": {1, 2, 3}}
    text = lab.read("numbers.txt")
    assert "mine 20\n" in text
    assert "theirs 20\n" in text
    assert "theirs 50\n" in text
    assert lab.read("blocks.yaml") == "- one\n"
    [ours], [theirs] = markers(text, "<"), markers(text, ">")
    assert "yours" in ours
    assert "0.2.0" in theirs
    assert lab.git("show", ":2:numbers.txt") == change(NUMBERS, 20, by="mine")
    assert lab.git("show", ":1:numbers.txt") == NUMBERS
    assert lab.git("show", ":3:numbers.txt") == change(NUMBERS, 20, 50, by="theirs")


def test_git_finishes_a_conflict(lab: Lab) -> None:
    """Git's own commands show a conflict and take either side."""
    lab.commit({"numbers.txt": change(NUMBERS, 20, by="mine")})
    lab.release({"numbers.txt": change(NUMBERS, 20, by="theirs")})
    lab.update()

    assert "UU numbers.txt" in lab.git("status", "--porcelain")
    lab.git("checkout", "--theirs", "numbers.txt")
    assert lab.read("numbers.txt") == change(NUMBERS, 20, by="theirs")
    lab.git("checkout", "--ours", "numbers.txt")
    assert lab.read("numbers.txt") == change(NUMBERS, 20, by="mine")
    lab.git("checkout", "--merge", "numbers.txt")
    assert has_markers(lab.read_bytes("numbers.txt"))


def test_same_change(lab: Lab) -> None:
    """An equal change on both sides is not a conflict."""
    lab.commit({"numbers.txt": change(NUMBERS, 20, by="both")})
    lab.release({"numbers.txt": change(NUMBERS, 20, by="both")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("numbers.txt") == change(NUMBERS, 20, by="both")


def test_same_change_and_more(lab: Lab) -> None:
    """A user who applied the fix early and then added lines keeps those lines."""
    lab.commit({"numbers.txt": change(change(NUMBERS, 20, by="both"), 40, by="mine")})
    lab.release({"numbers.txt": change(change(NUMBERS, 20, by="both"), 50, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("numbers.txt") == change(change(change(NUMBERS, 20, by="both"), 40, by="mine"), 50, by="theirs")


def test_five_conflicts(lab: Lab) -> None:
    """Five conflicts in one file show both sides five times, and the text between them is merged."""
    places = (5, 15, 25, 35, 45)
    lab.commit({"numbers.txt": change(NUMBERS, *places, 55, by="mine")})
    lab.release({"numbers.txt": change(NUMBERS, *places, 10, by="theirs")})

    result = lab.update()

    lab.assert_conflict(result, "numbers.txt")
    text = lab.read("numbers.txt")
    assert len(markers(text, "<")) == len(markers(text, ">")) == 5
    for number in places:
        assert f"mine {number}\n" in text
        assert f"theirs {number}\n" in text
    assert "mine 55\n" in text
    assert "theirs 10\n" in text


def test_carriage_returns(lab: Lab) -> None:
    """Lines with CRLF endings keep them after a merge."""
    lab.commit({"windows.txt": change(WINDOWS, 3, by="mine")})
    lab.release({"windows.txt": change(WINDOWS, 25, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("windows.txt") == change(change(WINDOWS, 3, by="mine"), 25, by="theirs")


@pytest.mark.parametrize("edited", [False, True], ids=["ends only", "and a line"])
def test_other_line_ends(lab: Lab, *, edited: bool) -> None:
    """A user who changed a file to CRLF loses no line, and a conflict is reported."""
    mine = change(NUMBERS, 3, by="mine") if edited else NUMBERS
    lab.commit({"numbers.txt": mine.replace("\n", "\r\n")})
    lab.release({"numbers.txt": change(NUMBERS, 50, by="theirs")})

    result = lab.update()

    text = lab.read("numbers.txt")
    assert set(mine.splitlines()) - {"line 50"} <= set(text.splitlines())
    assert "theirs 50" in text
    if not result.conflicts:
        assert text == change(mine, 50, by="theirs").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        (change(UNENDED, 2, by="mine"), change(UNENDED, 18, by="theirs"), "clean"),
        (UNENDED + "\n", change(UNENDED, 2, by="theirs"), "clean"),
        (UNENDED + "\nmine", UNENDED + "\ntheirs", "conflict"),
        (change(UNENDED, 2, by="mine"), UNENDED + "\n", "clean"),
    ],
    ids=["kept", "mine ends it", "both add", "theirs ends it"],
)
def test_no_final_newline(lab: Lab, mine: str, theirs: str, wanted: str) -> None:
    """A last line without a line ending stays one line, and gets an ending only from a side that added it."""
    lab.commit({"unended.txt": mine})
    lab.release({"unended.txt": theirs})

    result = lab.update()

    text = lab.read("unended.txt")
    if wanted == "conflict":
        lab.assert_conflict(result, "unended.txt")
        assert {"mine", "theirs", "item 20"} <= set(text.splitlines())
        return
    lab.assert_clean(result)
    assert text.endswith("\n") is (mine.endswith("\n") or theirs.endswith("\n"))
    assert set(text.splitlines()) == (set(mine.splitlines()) | set(theirs.splitlines())) - (
        set(UNENDED.splitlines()) - (set(mine.splitlines()) & set(theirs.splitlines()))
    )


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)


def test_user_made_it_executable(lab: Lab) -> None:
    """A mode that the user set is kept with the template's new text."""
    (lab.path / "numbers.txt").chmod(0o755)
    lab.commit()
    lab.release({"numbers.txt": change(NUMBERS, 5, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert _executable(lab.path / "numbers.txt")
    assert lab.git("ls-files", "-s", "numbers.txt").startswith("100755")
    assert "theirs 5" in lab.read("numbers.txt")


def test_template_made_it_executable(lab: Lab) -> None:
    """A mode that the template set is combined with the user's text."""
    lab.commit({"numbers.txt": change(NUMBERS, 5, by="mine")})
    (lab.origin / "template" / "numbers.txt").chmod(0o755)
    lab.release()

    result = lab.update()

    lab.assert_clean(result)
    assert _executable(lab.path / "numbers.txt")
    assert lab.git("ls-files", "-s", "numbers.txt").startswith("100755")
    assert lab.read("numbers.txt") == change(NUMBERS, 5, by="mine")


def test_user_took_the_mode_away(lab: Lab) -> None:
    """A script whose executable mode the user removed stays that way when the template changes its text."""
    (lab.path / "run.sh").chmod(0o644)
    lab.commit()
    lab.release({"run.sh": SCRIPT.replace("starting", "going")})

    lab.assert_clean(lab.update())

    assert not _executable(lab.path / "run.sh")
    assert "going" in lab.read("run.sh")


def test_modes_of_untouched_files_stay(lab: Lab) -> None:
    """A script stays executable when an update changes its text."""
    lab.release({"run.sh": SCRIPT.replace("starting", "going")})

    lab.assert_clean(lab.update())

    assert _executable(lab.path / "run.sh")


def test_unicode_names(lab: Lab) -> None:
    """Files with spaces and non-ASCII letters in their names are merged, reported and staged."""
    lab.commit({UNICODE: change(NUMBERS, 5, by="mine")})
    lab.release({UNICODE: change(NUMBERS, 50, by="theirs"), "neu/日本 語.txt": "added\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert kinds(result) == {UNICODE: "merged", "neu/日本 語.txt": "added"}
    assert lab.read(UNICODE) == change(change(NUMBERS, 5, by="mine"), 50, by="theirs")


def test_unicode_name_in_conflict(lab: Lab) -> None:
    """A conflict in a file with such a name is found, and the update can be finished."""
    lab.commit({UNICODE: change(NUMBERS, 5, by="mine")})
    lab.release({UNICODE: change(NUMBERS, 5, by="theirs")})

    result = lab.update()

    lab.assert_conflict(result, UNICODE)
    lab.write({UNICODE: change(NUMBERS, 5, by="both")})
    lab.git("add", UNICODE)
    lab.resume()
    assert lab.at() == "0.2.0"


def test_repeated_blocks(lab: Lab) -> None:
    """In a file with many equal blocks each edit stays in its own block."""
    lab.commit({"blocks.yaml": BLOCKS.replace("work\n  number: 3", "mine\n  number: 3")})
    lab.release({"blocks.yaml": BLOCKS.replace("work\n  number: 6", "theirs\n  number: 6")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("blocks.yaml") == BLOCKS.replace("work\n  number: 3", "mine\n  number: 3").replace(
        "work\n  number: 6", "theirs\n  number: 6"
    )


def test_repeated_blocks_added(lab: Lab) -> None:
    """Equal blocks that both sides add in different places are all kept."""
    block = "- name: block\n  run: |\n    set -e\n    work\n  number: {}\n\n"
    lab.commit({"blocks.yaml": block.format("mine") + BLOCKS})
    lab.release({"blocks.yaml": BLOCKS + block.format("theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("blocks.yaml") == block.format("mine") + BLOCKS + block.format("theirs")


def test_binary_by_the_template(lab: Lab) -> None:
    """A binary file that the user did not touch follows the template."""
    lab.release({"logo.png": PICTURE + b"\x00theirs"})

    lab.assert_clean(lab.update())

    assert lab.read_bytes("logo.png") == PICTURE + b"\x00theirs"


def test_binary_by_the_user(lab: Lab) -> None:
    """A binary file that the user changed stays unchanged."""
    lab.commit({"logo.png": PICTURE + b"\x00mine"})
    lab.release({"numbers.txt": change(NUMBERS, 5, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read_bytes("logo.png") == PICTURE + b"\x00mine"
    assert "logo.png" not in kinds(result)


def test_binary_by_both(lab: Lab) -> None:
    """A binary file that both sides changed is a conflict, with the user's file in the work tree."""
    lab.commit({"logo.png": PICTURE + b"\x00mine"})
    lab.release({"logo.png": PICTURE + b"\x00theirs"})

    result = lab.update()

    lab.assert_conflict(result, "logo.png")
    assert lab.stages() == {"logo.png": {1, 2, 3}}
    assert lab.read_bytes("logo.png") == PICTURE + b"\x00mine"
    lab.git("checkout", "--theirs", "logo.png")
    assert lab.read_bytes("logo.png") == PICTURE + b"\x00theirs"


def test_binary_by_both_alike(lab: Lab) -> None:
    """An equal change to a binary file on both sides is not a conflict."""
    lab.commit({"logo.png": PICTURE + b"\x00both"})
    lab.release({"logo.png": PICTURE + b"\x00both"})

    lab.assert_clean(lab.update())

    assert lab.read_bytes("logo.png") == PICTURE + b"\x00both"


def test_other_encodings(lab: Lab) -> None:
    """Bytes that are not UTF-8 stay unchanged in a merge."""
    mine = LATIN.replace("Stück 03".encode("latin-1"), "Mörtel 03".encode("latin-1"))
    lab.commit({"latin.txt": mine})
    lab.release({"latin.txt": LATIN.replace("Stück 18".encode("latin-1"), "Übrig 18".encode("latin-1"))})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read_bytes("latin.txt") == mine.replace("Stück 18".encode("latin-1"), "Übrig 18".encode("latin-1"))


def test_other_encodings_in_conflict(lab: Lab) -> None:
    """Bytes that are not UTF-8 stay unchanged in a conflict, and an abort restores them."""
    mine = LATIN.replace("Stück 03".encode("latin-1"), "Mörtel 03".encode("latin-1"))
    lab.commit({"latin.txt": mine})
    before = lab.snapshot()
    lab.release({"latin.txt": LATIN.replace("Stück 03".encode("latin-1"), "Übrig 03".encode("latin-1"))})

    result = lab.update()

    lab.assert_conflict(result, "latin.txt")
    content = lab.read_bytes("latin.txt")
    assert "Mörtel 03".encode("latin-1") in content
    assert "Übrig 03".encode("latin-1") in content
    lab.abort()
    assert lab.snapshot() == before


def test_user_wrote_other_encoding(lab: Lab) -> None:
    """A user's bytes that are not UTF-8 are kept when the template edits the file."""
    mine = NUMBERS.encode() + "Grüße\n".encode("latin-1")
    lab.commit({"numbers.txt": mine})
    lab.release({"numbers.txt": change(NUMBERS, 5, by="theirs")})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read_bytes("numbers.txt") == mine.replace(b"line 05", b"theirs 5")


def test_symbolic_link(lab: Lab) -> None:
    """A file that the user replaced with a link stays a link or is a conflict. Nothing is written through it."""
    (lab.path / "elsewhere.txt").write_text("mine\n")
    (lab.path / "numbers.txt").unlink()
    (lab.path / "numbers.txt").symlink_to("elsewhere.txt")
    lab.commit()
    lab.release({"numbers.txt": change(NUMBERS, 5, by="theirs")})

    lab.update()

    assert lab.read("elsewhere.txt") == "mine\n"
    assert lab.git("show", "HEAD:numbers.txt") == "elsewhere.txt"
    links = [path for path in lab.path.iterdir() if path.is_symlink()]
    assert [link.readlink().as_posix() for link in links] == ["elsewhere.txt"]


def test_file_became_a_folder(lab: Lab) -> None:
    """A user's folder in the place of a template file is kept, and the template's text is not lost."""
    lab.git("rm", "--quiet", "blocks.yaml")
    lab.commit({"blocks.yaml/mine.txt": "mine\n"})
    lab.release({"blocks.yaml": BLOCKS + "theirs\n"})

    lab.update()

    assert lab.read("blocks.yaml/mine.txt") == "mine\n"


def test_skipped_file(lab: Lab) -> None:
    """A file that is written once stays as the user left it."""
    lab.commit({"CHANGELOG.md": "# Changes\n\n- Mine\n"})
    lab.release({"CHANGELOG.md": "# Changes\n\n- Start anew\n"})

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("CHANGELOG.md") == "# Changes\n\n- Mine\n"


def test_skipped_file_untouched(lab: Lab) -> None:
    """A file that is written once stays unchanged even if the user never edited it."""
    lab.release({"CHANGELOG.md": "# Changes\n\n- Start anew\n"})

    lab.assert_clean(lab.update())

    assert lab.read("CHANGELOG.md") == "# Changes\n\n- Start\n"


def test_skipped_file_deleted(lab: Lab) -> None:
    """A file that is written once stays deleted after the user deletes it."""
    lab.commit({"CHANGELOG.md": None})
    lab.release({"CHANGELOG.md": "# Changes\n\n- Start anew\n"})

    lab.assert_clean(lab.update())

    assert not lab.exists("CHANGELOG.md")
