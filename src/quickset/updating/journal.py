"""Changing a work tree and its index so that a kill at any moment loses nothing.

Everything that will be there is prepared beside it: the new files, as the user's settings want them, and the new
index. Then a journal is written, then each file is put in place by one rename, then the index by another. Whoever finds
a journal afterwards finishes the work or undoes it, path by path: each path is as it was or as it will be.
"""

import json
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quickset.errors import RefusedError, writing
from quickset.updating.repository import Entry

Phase = Literal["applying", "conflicts", "aborting"]

FILE = "journal.json"


@dataclass(slots=True)
class Step:
    """What happens to one path."""

    before: Entry | None
    after: Entry | None
    stages: dict[int, Entry] = field(default_factory=dict)
    was: str | None = None
    """Digest of the file in the work tree before; None where there was none."""
    becomes: str | None = None
    """Digest of the file in the work tree afterwards; None where there is to be none."""
    flags: list[str] = field(default_factory=list)
    """What the user set in the index for this path: skip-worktree, assume-unchanged."""
    alike: dict[str, int] = field(default_factory=dict)
    """Lines of a conflict's sides that look like markers, with their number."""


@dataclass(slots=True)
class Journal:
    """An update that is not finished."""

    phase: Phase
    service: str
    head: str
    steps: dict[str, Step]
    """By path relative to the work tree's top."""
    temporary: str = field(default_factory=lambda: f".quickset-{secrets.token_hex(8)}")
    """How a file is called for the moment before it is put in place."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the command needs to know to go on: versions, answers, what to tell."""

    def save(self, state: Path) -> None:
        """Write it, so that it is there whole or not at all.

        Args:
            state: The folder for it.
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
        """Read it.

        Args:
            state: The folder where it would be.

        Returns:
            The journal; None when nothing is unfinished.

        Raises:
            RefusedError: It cannot be understood.
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
    """Remove what an update left that is over, or never began.

    Args:
        state: The folder of the journal.
    """
    for name in ("files", "back"):
        shutil.rmtree(state / name, ignore_errors=True)
    for name in ("index", "files.index", "back.index", f"{FILE}.new"):
        remove_index(state / name)


def finish(state: Path) -> None:
    """Forget a journal whose work is done.

    Args:
        state: The folder of the journal.
    """
    (state / FILE).unlink(missing_ok=True)
    clean(state)


def remove_index(index: Path) -> None:
    """Remove an index of ours, with the lock that a killed git left beside it."""
    index.unlink(missing_ok=True)
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
