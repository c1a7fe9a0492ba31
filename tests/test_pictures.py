"""The pictures of the README, which `scripts/screenshots.py` creates."""

import re
import struct

import pytest

from tests.questions import REPOSITORY

SHOWN = re.findall(r"!\[(.*?)\]\((.*?)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
PATHS = [path for _, path in SHOWN]
SCREEN_HEIGHT = 900
MOST_BYTES = 150_000


def test_readme_shows_all_pictures() -> None:
    """The README shows each picture of docs once, with a description for people who cannot see it."""
    files = (path for path in (REPOSITORY / "docs").iterdir() if path.suffix != ".md")

    assert sorted(PATHS) == sorted(path.relative_to(REPOSITORY).as_posix() for path in files)
    assert [text for text, _ in SHOWN if len(text.split()) < 6] == []


@pytest.mark.parametrize("path", PATHS)
def test_picture_fits_a_screen(path: str) -> None:
    """A picture fits on a screen and is small enough to load fast."""
    picture = (REPOSITORY / path).read_bytes()
    if picture.startswith(b"\x89PNG"):
        height = struct.unpack(">I", picture[20:24])[0]
    else:
        height = int(re.findall(rb'<svg [^>]*\bheight="(\d+)"', picture)[0])

    assert height <= SCREEN_HEIGHT
    assert len(picture) <= MOST_BYTES


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith(".svg")])
def test_picture_shows_no_machine(path: str) -> None:
    """A picture of a terminal contains text, and no path of the machine where it was made."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")

    assert "quickset" in text
    assert re.findall(r"(?<![\w.])/(?:tmp|root|home|Users|work|var)\b", text) == []
