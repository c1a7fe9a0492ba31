"""Complete answers and components in a shell, from the newest installed template and without a network."""

import sys
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

from quickset.errors import QuicksetError
from quickset.templates import remote, source
from quickset.templates.answers_file import read_answers
from quickset.templates.presets import PRESETS
from quickset.templates.questions import Question, is_component, load_questions

_OFF = "none"


def presets(incomplete: str) -> list[str]:
    """List presets.

    Args:
        incomplete: The text so far.

    Returns:
        The presets that start with it.
    """
    return _starting_with(incomplete, PRESETS)


def given_answers(incomplete: str) -> list[str]:
    """List answers in the form of `--data`. A question without choices has no value.

    Args:
        incomplete: The text so far.

    Returns:
        The answers that start with it.
    """
    pairs = []
    for question in _questions():
        if question.settable:
            pairs += [f"{question.name}={value}" for value in _values(question) or [""]]
    return _starting_with(incomplete, pairs)


def components(service: Path, incomplete: str, *, add: bool) -> list[str]:
    """List the components for `add` or `remove`, if the service has quickset's own template.

    Args:
        service: The service.
        incomplete: The text so far.
        add: Whether the command is `add`.

    Returns:
        The components that start with it.
    """
    try:
        if not remote.is_canonical(str(read_answers(service)["_src_path"])):
            return []
    except QuicksetError:
        return []
    names = []
    for question in filter(is_component, _questions()):
        if question.type == "bool":
            names.append(question.name)
        elif add:
            names += [f"{question.name}={value}" for value in question.choices if value != _OFF]
        elif _OFF in question.choices:
            names.append(question.name)
    return _starting_with(incomplete, names)


@contextmanager
def whole_words(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Join words that bash splits at `=`, so that Typer completes `cache=me`.

    Args:
        environment: The variables of the completion script.

    Yields:
        Nothing.
    """
    words = environment.get("COMP_WORDS", "").split("\n")[: int(environment.get("COMP_CWORD", "0")) + 1]
    joined: list[str] = []
    for before, word in pairwise(["", *words]):
        if joined and "=" in (before, word):
            joined[-1] += word
        else:
            joined.append(word)
    environment.update({"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)})
    prefix = joined[-1].rpartition("=")[0] + "="
    if prefix == "=":
        yield
        return
    with redirect_stdout(StringIO()) as found:
        try:
            yield
        finally:
            lines = found.getvalue().splitlines()
            print(*(line.removeprefix(prefix) for line in lines), sep="\n", file=sys.__stdout__)


def _starting_with(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _questions() -> list[Question]:
    try:
        return list(load_questions(source.here().template().config()).values())
    except QuicksetError:
        return []


def _values(question: Question) -> list[str]:
    if question.type == "bool":
        return ["true", "false"]
    return [str(value) for value in question.choices]
