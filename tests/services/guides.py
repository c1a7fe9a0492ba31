"""Follows the pages in `docs/` of a service literally: files to write, changes to files, commands to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RESOURCE, EXTEND = "docs/resource.md", "docs/extend.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"`([\w./-]*\.(?:example|py|yaml))`")
_PACKAGE = re.compile(r"Create the folder `([^`]+)` with an empty `([^`]+)`")


@dataclass(frozen=True)
class Step:
    """A step of a page.

    Attributes:
        kind: `write` a file, `change` a file, or `run` commands.
        path: The file.
        text: The content to write, the change as a diff, or the commands.
    """

    kind: str
    path: str
    text: str


def steps(page: str) -> Iterator[Step]:
    """Yield the steps of a page in order. The paragraph above a block names the file.

    A block without a file, or in another language, is only an illustration.
    """
    end = 0
    for block in _BLOCK.finditer(page):
        between = page[end : block.start()]
        end = block.end()
        for folder, name in _PACKAGE.findall(between):
            yield Step("write", f"{folder}/{name}", "")
        named = _NAME.search(between.strip().rpartition("\n\n")[2])
        language, text = block.groups()
        if language == "sh":
            yield Step("run", "", text)
        elif named:
            yield Step({"diff": "change", "python": "write", "yaml": "write"}[language], named[1], text)


def follow(service: Path, page: str) -> list[str]:
    """Write and change the files that a page names.

    Args:
        service: The folder of the service.
        page: The path of the page in it.

    Returns:
        The commands that the page prints after it.
    """
    commands = []
    for step in steps((service / page).read_text(encoding="utf-8")):
        file = service / step.path
        if step.kind == "run":
            commands += step.text.splitlines()
        elif step.kind == "write":
            assert not file.exists(), f"{page}: {step.path} exists already"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text, encoding="utf-8")
        else:
            file.write_text(changed(file.read_text(encoding="utf-8"), step), encoding="utf-8")
    return commands


def changed(text: str, step: Step) -> str:
    """Return a text with the change of a diff. Its parts are found by context, and `...` separates them."""
    for part in step.text.split("\n...\n"):
        lines = part.splitlines()
        old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        assert text.count(f"{old}\n") == 1, f"{step.path}: {old!r} is there {text.count(old)} times"
        text = text.replace(f"{old}\n", f"{new}\n")
    return text


def added_lines(page: str, path: str) -> list[str]:
    """Return the lines that a page adds to a file."""
    diffs = [step.text for step in steps(page) if step.kind == "change" and step.path == path]
    return [line for diff in diffs for line in diff.splitlines() if line.startswith("+")]
