"""Read `copier.yml` as Copier does: all its documents, with the files of `!include`."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml

from quickset.errors import QuicksetError

_LISTS = ("_exclude", "_jinja_extensions", "_secret_questions", "_skip_if_exists")
_PARTS = re.compile(r"^---|!include", re.MULTILINE)


def flatten(
    file: str, text: str, included: Callable[[str], Iterable[tuple[str, str]]]
) -> tuple[str, dict[str, list[str]]]:
    """Merge the documents of a `copier.yml` into one.

    Args:
        file: The name of the file.
        text: The text of the file.
        included: Reads the files that match a pattern: names and texts.

    Returns:
        The merged document, and the files that define each name. A single document stays as it is, without files.

    Raises:
        QuicksetError: The text is not valid YAML.
    """
    if not _PARTS.search(text):
        return text, {}
    files: dict[int, str] = {}

    class Loader(yaml.SafeLoader):
        pass

    def include(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> list[Any]:
        pattern = str(loader.construct_scalar(node))
        return [document for name, part in included(pattern) for document in load(name, part)]

    def load(name: str, part: str) -> list[Any]:
        found = list(yaml.load_all(part, Loader))
        # A list comes from an included file, whose documents are known already.
        files.update((id(document), name) for document in found if isinstance(document, dict))
        return found

    Loader.add_constructor("!include", include)
    try:
        documents = list(_mappings(load(file, text)))
    except yaml.YAMLError as error:
        raise QuicksetError(f"the template's copier.yml is not valid YAML: {' '.join(str(error).split())}") from error
    merged = {name: value for document in documents for name, value in document.items()}
    places = {name: [files[id(document)]] for document in documents for name in document}
    for name in _LISTS:
        if name in merged:
            merged[name] = [value for document in documents for value in document.get(name) or ()]
            places[name] = list(dict.fromkeys(files[id(document)] for document in documents if document.get(name)))
    return yaml.safe_dump(merged, sort_keys=False, allow_unicode=True), places


def _mappings(documents: Iterable[Any]) -> Iterator[dict[Any, Any]]:
    for document in documents:
        if isinstance(document, list):
            yield from _mappings(document)
        elif isinstance(document, dict):
            yield document
