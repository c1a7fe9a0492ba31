"""Define `quickset new`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from quickset.cli.options import Json, Quiet, complete_answers
from quickset.cli.output import reporting_errors, writing_output
from quickset.errors import UsageError


def _presets(incomplete: str) -> list[str]:
    from quickset.cli import completion

    return completion.presets(incomplete)


def new(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A new or empty folder, or an empty git repository.")],
    *,
    defaults: Annotated[bool, typer.Option("--defaults", help="Ask nothing, and use the defaults.")] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=_presets, help="Ask nothing, and use a preset: standard or minimal."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "-d",
            metavar="KEY=VALUE",
            autocompletion=complete_answers,
            help="Ask nothing, and set an answer. Repeatable.",
        ),
    ] = None,
    data_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask nothing, and read answers from YAML or JSON.")
    ] = None,
    no_git: Annotated[bool, typer.Option("--no-git", help="Skip git init and the first commit.")] = False,
    no_lock: Annotated[bool, typer.Option("--no-lock", help="Skip locking the dependencies.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, and write nothing.")] = False,
    template: Annotated[
        str | None, typer.Option(metavar="URL", help="Another template: a git URL or a folder.")
    ] = None,
    ref: Annotated[
        str | None,
        typer.Option(metavar="REF", help="X.Y.Z, HEAD or a ref of --template. Default: newest."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Create a service, with locked dependencies and a first commit.

    At a terminal, quickset asks for a preset, and then the questions that the preset does not answer. With --defaults,
    --preset, --data or --data-file it asks nothing, and uses the defaults of all other questions. --data overrides
    --data-file, which overrides --preset. PATH is created only after every step succeeds.

    --template accepts a fork, or any other Copier template. Its releases are its tags. If it has no tags, HEAD is used.
    quickset runs no code of a template. Credentials in the URL are used, but never recorded.

    \b
    Examples:
      quickset new orders-api
      quickset new orders-api --preset minimal --data layout=layered
      quickset new orders-api --data database=postgresql --no-lock
      quickset new orders-api --data-file answers.yml --dry-run
      quickset new orders-api --template ../our-template --ref v2.1.0
    """
    with reporting_errors():
        if not path:
            raise UsageError("PATH is empty.")
        unattended = bool(defaults or preset is not None or data or data_file)
        if not unattended and (quiet or as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
            raise UsageError(
                "there is no terminal to ask questions at; use --defaults, --preset NAME, --data KEY=VALUE or "
                "--data-file FILE."
            )
        from quickset.commands import new as command
        from quickset.templates import answers

        given = (answers.load_file(data_file) if data_file else {}) | answers.parse_pairs(data or [])
        request = command.Request(
            path=Path(path),
            preset=preset,
            data=given,
            ask=not unattended,
            commit=not no_git,
            lock=not no_lock,
            dry_run=dry_run,
            template=template,
            ref=ref,
        )
        if quiet and not as_json:
            command.new(request)
            return
        from quickset.report.console import console, progress, to_json
        from quickset.report.created import next_commands, show_created

        if as_json:
            created = command.new(request)
            with writing_output():
                typer.echo(to_json(created, dry_run=dry_run, next=next_commands(created)))
        else:
            created = command.new(request, progress=progress)
            with writing_output():
                show_created(created, dry_run=dry_run, out=console())
