"""Define `quickset diff` and `quickset update`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from quickset.cli.options import AnswersFile, Data, FixImports, Json, NoLock, Quiet, Service, Template, To
from quickset.cli.output import choose_progress, finish, reporting_errors
from quickset.errors import UsageError


def diff(
    path: Service = Path(),
    *,
    to: To = None,
    template: Template = None,
    data: Data = None,
    fix_imports: FixImports = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Preview what `update` would do, file by file.

    quickset prints the diff, the result for each file, your lines that use old names of modules and commands, and the
    notes to read before you deploy. It changes nothing. The exit code is 1 if there is something to update, and 3 if
    the update would have conflicts.

    \b
    Examples:
      quickset diff
      quickset diff orders-api --to 0.2.0
      quickset diff --json
    """
    with reporting_errors():
        from quickset.commands import update as command
        from quickset.report.console import console
        from quickset.templates import answers

        out = console()
        request = command.Request(
            path=path,
            answers_file=answers_file,
            to=to,
            template=template,
            data=answers.parse_pairs(data or []),
            fix_imports=fix_imports,
        )
        silent = quiet or as_json
        found = command.preview(request, progress=choose_progress(silent=silent), color=out.is_terminal and not silent)
        finish(found, would=True, quiet=quiet, as_json=as_json)


def update(
    path: Service = Path(),
    *,
    to: To = None,
    template: Template = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing. New questions do not change the service.")
    ] = False,
    data: Data = None,
    branch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Commit to this branch instead of staging.")
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="Continue after you resolve the conflicts.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Undo an update that has conflicts.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, like `diff`.")] = False,
    fix_imports: FixImports = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Update a service to a newer template, and keep your changes.

    quickset merges the changes of the template into what you committed. It stages the result, and never commits to the
    current branch. An update that would change a file with uncommitted changes is refused. Conflicts are git conflicts:
    resolve them, run `git add`, then run `quickset update --continue`. quickset lists your lines that use old names of
    modules and commands, with the new names. --fix-imports rewrites your imports.

    \b
    Examples:
      quickset update
      quickset update --to 0.2.0 --defaults
      quickset update --fix-imports
      quickset update --branch quickset/update
      quickset update --continue
      quickset update --abort
    """
    with reporting_errors():
        from quickset.commands import update as command

        if go_on + abort + dry_run > 1 or ((go_on or abort) and (to or template or data or branch or fix_imports)):
            raise UsageError(
                "--continue, --abort and --dry-run cannot be combined, and the first two take no other options."
            )
        if dry_run:
            options: dict[str, Any] = {"answers_file": answers_file, "quiet": quiet, "as_json": as_json}
            diff(path, to=to, template=template, data=data, fix_imports=fix_imports, **options)
            return
        show = choose_progress(silent=quiet or as_json)
        if go_on:
            done = command.resume(path, lock=not no_lock, progress=show)
        elif abort:
            done = command.abort(path)
        else:
            from quickset.templates import answers

            at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
            request = command.Request(
                path=path,
                answers_file=answers_file,
                to=to,
                template=template,
                data=answers.parse_pairs(data or []),
                ask=at_terminal and not (defaults or quiet or as_json),
                fix_imports=fix_imports,
                lock=not no_lock,
                branch=branch,
            )
            done = command.update(request, progress=show)
        finish(done, would=False, quiet=quiet, as_json=as_json)
