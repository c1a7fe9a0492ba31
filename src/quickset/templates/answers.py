"""Parse and check given answers.

Copier ignores unknown names, converts "maybe" to true, and accepts hidden answers. So answers are checked before Copier
gets them. The rules are read from `copier.yml`, so a new question needs no change here.
"""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from quickset.errors import UsageError, os_reason
from quickset.templates.questions import Question
from quickset.templates.strict_yaml import RepeatedKeyError, load_yaml, one_line


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Split `KEY=VALUE` pairs. If a name occurs twice, the last value counts.

    Args:
        pairs: The values of `--data`.

    Returns:
        The values by name.

    Raises:
        UsageError: A pair has no `=`, or no name.
    """
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--data: '{pair}' is not KEY=VALUE, as in database=postgresql.")
        found[name.strip()] = value
    return found


def load_file(path: Path) -> dict[str, Any]:
    """Read a file of answers, YAML or JSON.

    Args:
        path: The file.

    Returns:
        The values by name.

    Raises:
        UsageError: The file cannot be read, or has no names with values.
    """
    try:
        # JSON is a subset of YAML.
        loaded = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--data-file: {os_reason(error)}") from error
    except RepeatedKeyError as error:
        raise UsageError(f"--data-file: {path}: {error}; delete one of the two.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--data-file: {path} is not UTF-8 text.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--data-file: {path} is neither YAML nor JSON: {one_line(error)}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise UsageError(f"--data-file: {path} needs names with values, such as 'database: postgresql'.")
    return loaded


def check(questions: Mapping[str, Question], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check given answers, as far as that is possible without a render.

    Args:
        questions: The template's questions.
        given: The values by name.

    Returns:
        The values, converted to the types of the questions.

    Raises:
        UsageError: A name is unknown or cannot be set, or a value is none of the choices or of the wrong type.
    """
    return {name: _find(questions, name).parse(value) for name, value in given.items()}


def find_invalid(questions: Mapping[str, Question], recorded: Mapping[str, Any]) -> dict[str, str]:
    """Find recorded answers that a template does not accept.

    Args:
        questions: The template's questions.
        recorded: The answers by name.

    Returns:
        The errors by name.
    """
    found = {}
    for name, value in recorded.items():
        try:
            questions[name].parse(value)
        except UsageError as error:
            found[name] = str(error).removeprefix(f"{name}: ")
    return found


def _find(questions: Mapping[str, Question], name: str) -> Question:
    question = questions.get(name)
    if question is None:
        known = [each.name for each in questions.values() if each.settable]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"the questions are {', '.join(known)}."
        raise UsageError(f"there is no question '{name}'; {hint}")
    if question.hidden:
        raise UsageError(f"'{name}' is derived from other answers and cannot be set.")
    if question.internal:
        raise UsageError(f"'{name}' is recorded by the template and cannot be set.")
    return question


def check_asked(
    questions: Mapping[str, Question], given: Iterable[str], recorded: Mapping[str, Any], ruled_out: Collection[str]
) -> None:
    """Refuse answers to questions that are not asked because of their conditions.

    Args:
        questions: The template's questions.
        given: The names of given answers.
        recorded: All answers that Copier recorded.
        ruled_out: The questions whose condition is false.

    Raises:
        UsageError: A question is ruled out. The message names it, and the answers that cause this.
    """
    for name in given:
        if name in ruled_out:
            others = [other for other in questions[name].depends_on() if other in questions]
            if not others:
                raise UsageError(f"'{name}' is not asked here; leave it out.")
            because = " and ".join(
                f"{other}={_shown(recorded.get(other, questions[other].default))}" for other in others
            )
            raise UsageError(f"'{name}' means nothing with {because}; leave it out, or change {' or '.join(others)}.")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
