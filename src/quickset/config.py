"""`copier.yml` as Copier reads it: its documents one after the other, with what `!include` names."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml

from quickset.errors import QuicksetError

_LISTS = ("_exclude", "_jinja_extensions", "_secret_questions", "_skip_if_exists")
_PARTS = re.compile(r"^---|!include", re.MULTILINE)


def flatten(text: str, included: Callable[[str], Iterable[str]]) -> str:
    """Write a `copier.yml` as one document.

    Args:
        text: What it holds.
        included: Reads the files that a pattern names.

    Returns:
        The same text where it is one document already.

    Raises:
        QuicksetError: It is not valid YAML.
    """
    if not _PARTS.search(text):
        return text

    class Loader(yaml.SafeLoader):
        pass

    def include(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> list[Any]:
        pattern = str(loader.construct_scalar(node))
        return [document for part in included(pattern) for document in yaml.load_all(part, Loader)]

    Loader.add_constructor("!include", include)
    try:
        documents = list(_mappings(yaml.load_all(text, Loader)))
    except yaml.YAMLError as error:
        raise QuicksetError(f"the template's copier.yml is not valid YAML: {' '.join(str(error).split())}") from error
    merged = {name: value for document in documents for name, value in document.items()}
    for name in _LISTS:
        if name in merged:
            merged[name] = [value for document in documents for value in document.get(name) or ()]
    return yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)


def _mappings(documents: Iterable[Any]) -> Iterator[dict[Any, Any]]:
    for document in documents:
        if isinstance(document, list):
            yield from _mappings(document)
        elif isinstance(document, dict):
            yield document
