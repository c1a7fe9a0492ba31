import os
import subprocess

from quickset.shell import join, quote

WORDS = [
    "plain.txt",
    "with space",
    "it's",
    "größe ☃",
    "-dash",
    "",
    "line\nbreak",
    "tab\tand 'quote'",
    "back\\slash\x1b[31m",
    "\x017",
    os.fsdecode(b"caf\xe9 'x'"),
]


def test_words_come_back() -> None:
    """A shell with `$'…'` reads back every word, byte for byte, from one printable line."""
    command = join("printf", "%s\\0", *WORDS)

    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)

    assert command.isprintable()
    assert [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]] == WORDS


def test_plain_words() -> None:
    """A printable word is quoted for every POSIX shell."""
    assert quote("a b") == "'a b'"
    assert quote("größe") == "'größe'"
    assert quote(os.fsdecode(b"\xff")) == "$'\\377'"
