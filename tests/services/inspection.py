"""Checks of a rendered service's text. Each check returns one line per fault."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tests.rendering import read_tree

LEFT_OVER_TAG = re.compile(r"\{\{|\{%|%\}|\{#|#\}")
# Files whose own syntax resembles a tag.
TAGS_OF_THEIR_OWN: Mapping[str, str] = {
    "justfile": r"\{\{ ?[a-z_]+ ?\}\}",
    "template-updates.yml": r"\$\{\{ ?[A-Za-z_.|!=' ]+ ?\}\}",
}

# Files that neither the code nor the tests of a service read.
NOT_PYTHON = {
    ".copier-answers.yml", ".dockerignore", ".github", ".gitignore", ".gitlab-ci.yml", ".pre-commit-config.yaml",
    "CHANGELOG.md", "Dockerfile", "LICENSE", "README.md", "compose.override.yaml", "compose.services.yaml",
    "compose.yaml", "docs", "scripts",
}  # fmt: skip
MAY_BE_EMPTY = {"__init__.py", ".gitkeep", "py.typed"}
WINDOWS_FORBIDS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
WINDOWS_RESERVES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
LONGEST_PATH = 120
LONGEST_LINE = 120
DESCRIPTION_LINE = 3


def inspect(tree: Mapping[str, str]) -> list[str]:
    """Return all faults in the files of a service."""
    faults = [f"{path}: {fault}" for path, text in tree.items() for fault in _faults(path, text)]
    folded = [path.casefold() for path in tree]
    return faults + [f"{path}: differs from another only by case" for path in tree if folded.count(path.casefold()) > 1]


def _faults(path: str, text: str) -> Iterator[str]:
    yield from name_faults(path)
    name = PurePosixPath(path).name
    if not text:
        if name not in MAY_BE_EMPTY:
            yield "is empty"
        return
    yield from _tag_faults(name, text)
    yield from _space_faults(name, text)
    yield from _line_faults(name, text)
    yield from _value_faults(name, text)
    try:
        parse(path, text)
    except (ValueError, yaml.YAMLError) as error:
        yield f"does not parse: {error}"


def name_faults(path: str) -> Iterator[str]:
    """Return the reasons why a path cannot be checked out on Windows."""
    for part in PurePosixPath(path).parts:
        if WINDOWS_FORBIDS.search(part) or WINDOWS_RESERVES.match(part):
            yield f"{part!r} is no file name on Windows"
    if len(path) > LONGEST_PATH:
        yield f"is longer than {LONGEST_PATH} characters"


def _tag_faults(name: str, text: str) -> Iterator[str]:
    text = re.sub(TAGS_OF_THEIR_OWN[name], "", text) if name in TAGS_OF_THEIR_OWN else text
    for tag in sorted(set(LEFT_OVER_TAG.findall(text))):
        yield f"has a left-over {tag}"


def _space_faults(name: str, text: str) -> Iterator[str]:
    blank_lines = "\n\n\n\n" if name.endswith((".py", ".mako")) else "\n\n\n"
    if blank_lines in _prose(name, text):
        yield "has too many blank lines in a row"
    if text.startswith("\n"):
        yield "starts with a blank line"
    if not text.endswith("\n"):
        yield "does not end with a newline"
    if text.endswith("\n\n"):
        yield "ends with a blank line"
    if "\r" in text:
        yield "has a carriage return"
    # In Markdown two spaces at the end of a line are a line break, but there are better forms.
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            yield f"line {number} ends with white space"


def _prose(name: str, text: str) -> str:
    """Return a Markdown text without its code blocks, which are tested as code."""
    return re.sub(r"^```.*?^```$", "```", text, flags=re.DOTALL | re.MULTILINE) if name.endswith(".md") else text


def _line_faults(name: str, text: str) -> Iterator[str]:
    """Find long lines of text. Rows of tables must be one line, and the description is the user's."""
    if name in {"README.md", "extend.md", "resource.md"}:
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > LONGEST_LINE and number != DESCRIPTION_LINE and not line.startswith("|"):
                yield f"line {number} is longer than {LONGEST_LINE} characters"


def _value_faults(name: str, text: str) -> Iterator[str]:
    """Find values that a tag converted with Python's `str()`."""
    if re.search(r"\bUndefined\b", text):
        yield "says Undefined"
    if not name.endswith((".py", ".md", ".mako")) and (found := re.search(r"\b(None|True|False)\b", text)):
        yield f"says {found[0]}"
    if name.endswith(".md") and re.search(r"\bNone\b(?!`)", _prose(name, text)):
        yield "says None"


def python_digest(folder: Path) -> str:
    """Return a digest that is equal for services with the same code, tests and settings.

    It ignores licenses, container files, scheduled jobs and texts for people.
    """
    digest = hashlib.sha256()
    for path, text in read_tree(folder).items():
        if PurePosixPath(path).parts[0] in NOT_PYTHON:
            continue
        if path == "pyproject.toml":
            project = tomllib.loads(text)
            for name in ("license", "license-files", "classifiers"):
                project["project"].pop(name, None)
            digest.update(json.dumps(project).encode())
        else:
            digest.update(f"{path}\0{text}\0".encode())
    return digest.hexdigest()


def parse(path: str, text: str) -> Any:
    """Return the parsed content of a file in a known format, and None for other formats."""
    suffix = PurePosixPath(path).suffix
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix in {".yaml", ".yml"}:
        return list(yaml.safe_load_all(text))
    if suffix == ".json":
        return json.loads(text)
    return None
