"""Read YAML, refuse repeated keys, and describe errors."""

from typing import Any

import yaml

# The number of characters. A usual answers file has a tenth of it.
_SHORT = 8192


class RepeatedKeyError(ValueError):
    """A mapping has the same key twice. The message names the key and its lines."""


class _UniqueKeys:
    """A mixin for loaders that refuses repeated keys. The loaders of PyYAML take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 -- PyYAML's signature
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise RepeatedKeyError(f"'{key.value}' is in lines {lines[name]} and {line}")
            lines[name] = line
        # A class next to this one has the method, and mypy does not see it.
        constructed: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return constructed


class _Loader(_UniqueKeys, yaml.SafeLoader):
    pass


# A base that is looked up has no type.
class _FastLoader(_UniqueKeys, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def load_yaml(text: str) -> Any:
    """Parse YAML in which no key occurs twice.

    Args:
        text: The YAML.

    Returns:
        The value.

    Raises:
        ValueError: A key occurs twice.
        yaml.YAMLError: The text is not valid.
    """
    # The fast loader comes with most builds of PyYAML. It crashes on a long text with very deep nesting, for which the
    # other loader raises an error.
    return yaml.load(text, Loader=_FastLoader if len(text) < _SHORT else _Loader)  # noqa: S506 -- both are safe


def one_line(error: Exception) -> str:
    """Write an error in one line.

    Args:
        error: The error.

    Returns:
        The message without line breaks.
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
