"""Define `quickset add` and `quickset remove`."""

from pathlib import Path
from typing import Any

from quickset.cli.options import AddedNames, AnswersFile, At, DryRun, Json, NoLock, Quiet, RemovedNames
from quickset.cli.output import choose_progress, finish, reporting_errors


def add(
    names: AddedNames,
    *,
    path: At = Path(),
    dry_run: DryRun = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn on components of a service, or change them.

    quickset merges as in `update`: your edits are kept, the result is staged, and conflicts are git conflicts.

    \b
    Examples:
      quickset add docker
      quickset add database=postgresql
      quickset add docker --path orders-api --dry-run
    """
    with reporting_errors():
        from quickset.commands import components

        show = choose_progress(silent=quiet or as_json)
        options: dict[str, Any] = {"answers_file": answers_file, "lock": not no_lock, "dry_run": dry_run}
        done = components.add(path, names, progress=show, **options)
        finish(done, would=dry_run, quiet=quiet, as_json=as_json)


def remove(
    names: RemovedNames,
    *,
    path: At = Path(),
    dry_run: DryRun = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn off components of a service.

    quickset merges as in `update`. A file that you edited is kept or becomes a conflict, so no edit is lost.

    \b
    Examples:
      quickset remove example
      quickset remove docker --dry-run
    """
    with reporting_errors():
        from quickset.commands import components

        show = choose_progress(silent=quiet or as_json)
        options: dict[str, Any] = {"answers_file": answers_file, "lock": not no_lock, "dry_run": dry_run}
        done = components.remove(path, names, progress=show, **options)
        finish(done, would=dry_run, quiet=quiet, as_json=as_json)
