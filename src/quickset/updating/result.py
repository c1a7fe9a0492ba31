"""The result of an update, and its form in the journal."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quickset.templates.upgrades import DeployNote
from quickset.updating.changes import Change
from quickset.updating.journal import Journal
from quickset.updating.references import Reference
from quickset.updating.repository import Repository

Progress = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """The outcome of an update or of its preview. The names are those of the JSON output."""

    path: Path
    title: str = ""
    before: str = ""
    after: str = ""
    changes: tuple[Change, ...] = ()
    conflicts: tuple[str, ...] = ()
    absent: Mapping[str, Any] = field(default_factory=dict)
    """New questions that were not asked, with the answers that they took."""
    deploy: tuple[DeployNote, ...] = ()
    notes: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    """The owner's lines that use old names."""
    next_steps: tuple[str, ...] = ()
    patch: str = ""
    """The difference, for a preview."""
    branch: str | None = None
    commit: str | None = None
    applied_ms: float = 0.0
    """The milliseconds for which the work tree was between both states."""


def to_journal(result: UpdateResult) -> dict[str, Any]:
    """Convert a result for the journal of an update.

    Args:
        result: The result.

    Returns:
        The values that a later command reports.
    """
    kept = asdict(result)
    names = ("title", "before", "after", "changes", "absent", "deploy", "notes", "references", "next_steps")
    return {name: kept[name] for name in names}


def from_journal(
    repository: Repository, record: Journal, resolutions: Mapping[str, Mapping[str, str]] | None = None
) -> UpdateResult:
    """Restore the result that is recorded in a journal.

    Args:
        repository: The repository.
        record: The journal.
        resolutions: The kind and the note of changes that the user decided, by path in the repository.

    Returns:
        The result.
    """
    kept = dict(record.facts.get("result") or {"title": "An update"})
    kept["changes"] = tuple(
        Change(
            **each
            | {"template_paths": tuple(each.get("template_paths", ()))}
            | ({"kind": "merged", "note": ""} if each["kind"] == "conflict" else {})
            | (resolutions or {}).get(record.service + each["path"], {})
        )
        for each in kept.get("changes", ())
    )
    kept["deploy"] = tuple(DeployNote(each["version"], each["text"], each["keep"]) for each in kept.get("deploy", ()))
    kept["notes"] = tuple(kept.get("notes", ()))
    kept["references"] = tuple(Reference(**each) for each in kept.get("references", ()))
    kept["next_steps"] = tuple(kept.get("next_steps", ()))
    return UpdateResult(path=repository.top / record.service, **kept)
