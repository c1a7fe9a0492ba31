"""The journal of an update: what it changes, path by path, so that an interrupted update can be finished or undone.

An update prepares the new files and the new index next to the work tree. Then it writes the journal. Then it puts each
file in place by one rename, and the index by another. So after a kill, each path is in its old or in its new state.
"""

import json
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quickset.errors import RefusedError, writing
from quickset.updating.tree import Entry

Phase = Literal["applying", "conflicts", "aborting"]

FILE = "journal.json"


@dataclass(slots=True)
class Step:
    """The change of one path."""

    before: Entry | None
    after: Entry | None
    stages: dict[int, Entry] = field(default_factory=dict)
    was: str | None = None
    """Digest of the file in the work tree before the update; None if there is no file."""
    becomes: str | None = None
    """Digest of the file in the work tree after the update; None if there is no file."""
    flags: list[str] = field(default_factory=list)
    """The flags that the user set in the index for this path: skip-worktree, assume-unchanged."""
    alike: dict[str, int] = field(default_factory=dict)
    """Lines that look like conflict markers and are not, with their number."""


@dataclass(slots=True)
class Journal:
    """An unfinished update."""

    phase: Phase
    service: str
    head: str
    steps: dict[str, Step]
    """By path from the top of the work tree."""
    temporary: str = field(default_factory=lambda: f".quickset-{secrets.token_hex(8)}")
    """The name of a file until it is put in place."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The versions, answers and results that a later command needs."""

    def save(self, state: Path) -> None:
        """Write the journal completely or not at all.

        Args:
            state: The folder of the journal.
        """
        raw = {
            "phase": self.phase,
            "service": self.service,
            "head": self.head,
            "facts": self.facts,
            "temporary": self.temporary,
            "steps": {
                path: {
                    "before": step.before,
                    "after": step.after,
                    "stages": step.stages,
                    "was": step.was,
                    "becomes": step.becomes,
                    "flags": step.flags,
                    "alike": step.alike,
                }
                for path, step in self.steps.items()
            },
        }
        fresh = state / f"{FILE}.new"
        with writing(fresh), fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(raw, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(state / FILE)

    @classmethod
    def load(cls, state: Path) -> "Journal | None":
        """Read the journal of a work tree.

        Args:
            state: The folder of the journal.

        Returns:
            The journal; None if no update is unfinished.

        Raises:
            RefusedError: The journal is damaged.
        """
        try:
            raw = json.loads((state / FILE).read_text(encoding="utf-8", errors="surrogateescape"))
            steps = {
                path: Step(
                    before=_entry(step["before"]),
                    after=_entry(step["after"]),
                    stages={int(stage): Entry(*entry) for stage, entry in step["stages"].items()},
                    was=step["was"],
                    becomes=step["becomes"],
                    # Not in a journal of 0.3.3 and before.
                    flags=step.get("flags", []),
                    alike=step.get("alike", {}),
                )
                for path, step in raw["steps"].items()
            }
            return cls(raw["phase"], raw["service"], raw["head"], steps, raw["temporary"], raw["facts"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"{state / FILE} is damaged, so the unfinished update cannot be judged.") from error


def _entry(raw: list[str] | None) -> Entry | None:
    return Entry(*raw) if raw else None


def clean(state: Path) -> None:
    """Remove the temporary files of an update.

    Args:
        state: The folder of the journal.
    """
    for name in ("files", "back"):
        shutil.rmtree(state / name, ignore_errors=True)
    for name in ("index", "files.index", "back.index", f"{FILE}.new"):
        remove_index(state / name)


def finish(state: Path) -> None:
    """Delete the journal of a finished update, with its temporary files.

    Args:
        state: The folder of the journal.
    """
    (state / FILE).unlink(missing_ok=True)
    clean(state)


def remove_index(index: Path) -> None:
    """Remove a temporary index, with the lock that a killed git may have left.

    Args:
        index: The index. It may be missing.
    """
    index.unlink(missing_ok=True)
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
