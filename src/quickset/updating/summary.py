"""Describe an update in words: for the terminal, and in Markdown for a commit or a pull request."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickset.updating.changes import Change, Kind
    from quickset.updating.references import Reference
    from quickset.updating.result import UpdateResult

_MEANINGS: Mapping["Kind", str] = {
    "added": "added",
    "changed": "changed",
    "merged": "merged with your changes",
    "moved": "moved",
    "removed": "removed",
    "kept": "kept: the template removed it, you had changed it",
    "deleted": "stays deleted: you deleted it, the template changed it",
    "yours": "stays as you have it",
    "ignored": "left out: you ignore it",
    "rewritten": "imports rewritten",
    "conflict": "conflict",
}


def name_change(change: "Change") -> str:
    """Name the file of a change, with its old path if it moved.

    Args:
        change: The change.

    Returns:
        The path, or both paths with an arrow.
    """
    return f"{change.source} → {change.path}" if change.source else change.path


def describe_change(change: "Change") -> str:
    """Describe what happened to a file.

    Args:
        change: The change.

    Returns:
        The meaning of its kind, with its note in parentheses.
    """
    return _MEANINGS[change.kind] + f" ({change.note})" * bool(change.note)


def new_form(reference: "Reference", quote: str = "") -> str:
    """Write what takes the place of an old name.

    Args:
        reference: The use of the old name.
        quote: The quotation mark around the new name.

    Returns:
        An arrow and the new name; empty for a line that has no suggested form.
    """
    if reference.new:
        return f" → {quote}{reference.new}{quote}"
    return "" if reference.kind == "line" else " → no replacement"


def group_references(result: "UpdateResult") -> dict[str, list["Reference"]]:
    """Group the owner's lines that use old names by what to do about them.

    Args:
        result: The update.

    Returns:
        The lines by heading.
    """
    found: dict[str, list[Reference]] = {}
    could_fix = not any(each.rewritten for each in result.references)
    could_fix = could_fix and any(each.kind == "import" for each in result.references)
    rest = "Old names in your files" + "; `--fix-imports` rewrites the imports" * could_fix
    for each in result.references:
        title = "Your lines to move" if each.kind == "line" else "Rewritten imports" if each.rewritten else rest
        found.setdefault(title, []).append(each)
    return found


def show_value(value: Any) -> str:
    """Write the value of an answer.

    Args:
        value: The value.

    Returns:
        Text as it is, anything else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_markdown(result: "UpdateResult") -> str:
    """Describe an update for the message of a commit or the text of a pull request.

    Args:
        result: The update.

    Returns:
        Markdown.
    """
    parts = []
    if result.deploy:
        lines = [
            f"- **{entry.version}** {entry.text}{f' {entry.keep}' if entry.keep else ''}" for entry in result.deploy
        ]
        parts.append("\n".join(["## Before you deploy", "", *lines]))
    if result.changes:
        lines = [f"- `{name_change(change)}`: {describe_change(change)}" for change in result.changes]
        parts.append("\n".join(["## Files", "", *lines]))
    for title, found in group_references(result).items():
        lines = [f"- `{each.path}:{each.line}`: `{each.old}`{new_form(each, '`')}" for each in found]
        parts.append("\n".join([f"## {title}", "", *lines]))
    if result.absent:
        lines = [f"- `{name}`: taken as `{show_value(value)}`" for name, value in result.absent.items()]
        parts.append("\n".join(["## New questions", "", *lines]))
    if result.notes:
        parts.append("\n".join(["## Notes", "", *(f"- {note}" for note in result.notes)]))
    return "\n\n".join(parts)
