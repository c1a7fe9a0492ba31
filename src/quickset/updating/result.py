"""What an update did, or would do."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quickset.templates.upgrades import Entry as Deploy
from quickset.updating.changes import Change
from quickset.updating.journal import Journal
from quickset.updating.references import Reference
from quickset.updating.repository import Repository

Progress = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was done, or would be."""

    path: Path
    title: str = ""
    before: str = ""
    after: str = ""
    changes: tuple[Change, ...] = ()
    conflicts: tuple[str, ...] = ()
    absent: Mapping[str, Any] = field(default_factory=dict)
    """New questions, with the values that they took."""
    deploy: tuple[Deploy, ...] = ()
    notes: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    """The owner's lines that use what was renamed."""
    next_steps: tuple[str, ...] = ()
    patch: str = ""
    """The difference, of a preview."""
    branch: str | None = None
    commit: str | None = None
    applied_ms: float = 0.0
    """For how long the work tree was being changed."""


def to_journal(result: Result) -> dict[str, Any]:
    """Bring what there is to tell into a form for the journal."""
    kept = asdict(result)
    names = ("title", "before", "after", "changes", "absent", "deploy", "notes", "references", "next_steps")
    return {name: kept[name] for name in names}


def from_journal(
    repository: Repository, record: Journal, decided: Mapping[str, Mapping[str, str]] | None = None
) -> Result:
    """Bring back what `_kept` kept, with what the user made of files by their path in the repository."""
    kept = dict(record.facts.get("result") or {"title": "An update"})
    kept["changes"] = tuple(
        Change(
            **each
            | {"template_paths": tuple(each.get("template_paths", ()))}
            | ({"kind": "merged", "note": ""} if each["kind"] == "conflict" else {})
            | (decided or {}).get(record.service + each["path"], {})
        )
        for each in kept.get("changes", ())
    )
    kept["deploy"] = tuple(Deploy(each["version"], each["text"], each["keep"]) for each in kept.get("deploy", ()))
    kept["notes"] = tuple(kept.get("notes", ()))
    kept["references"] = tuple(Reference(**each) for each in kept.get("references", ()))
    kept["next_steps"] = tuple(kept.get("next_steps", ()))
    return Result(path=repository.top / record.service, **kept)
