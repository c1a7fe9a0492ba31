"""Read YAML in which no key occurs twice, and describe what is wrong with it."""

from typing import Any

import yaml

# Ten times a usual file of answers.
_SHORT = 8192


class RepeatedKeyError(ValueError):
    """A mapping holds the same key twice; the message says which, and in which lines."""


class _UniqueKeys:
    """Refuse repeated keys, of which YAML's loaders take the last one; to be mixed into a loader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise RepeatedKeyError(f"'{key.value}' stands in lines {lines[name]} and {line}")
            lines[name] = line
        constructed: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return constructed


class _Loader(_UniqueKeys, yaml.SafeLoader):
    pass


class _FastLoader(_UniqueKeys, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def load_yaml(text: str) -> Any:
    """Read YAML in which no key stands twice.

    Args:
        text: The YAML.

    Returns:
        What it holds.

    Raises:
        ValueError: A key stands twice.
        yaml.YAMLError: It is not valid.
    """
    # The fast loader comes with most builds of PyYAML. It crashes where a long text nests so deep that the other one
    # gives up, so it is given no such text.
    return yaml.load(text, Loader=_FastLoader if len(text) < _SHORT else _Loader)  # noqa: S506 -- both are safe


def one_line(error: Exception) -> str:
    """Write an error in one line.

    Args:
        error: The error.

    Returns:
        Its message without line breaks.
    """
    return " ".join(str(error).split())


def kind_of(value: Any) -> str:
    """Name the kind of a value for a person.

    Args:
        value: The value.

    Returns:
        A noun with its article.
    """
    kinds = {type(None): "nothing", list: "a list", dict: "a mapping", str: "text", bool: "true or false"}
    return kinds.get(type(value), "one value")
