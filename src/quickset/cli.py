"""The command line: options, help, exit codes. Each command imports what it needs when it runs."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from quickset.errors import QuicksetError, UsageError

_EPILOG = """\
\b
Exit codes:
  0  done
  1  something to do (behind, drifted)
  2  wrong usage
  3  conflicts left to resolve
  4  refused, nothing touched
  5  failed or interrupted"""

_TYPER_INTERRUPTED = 130

# Plain help: Typer's Rich help takes three times as long to start.
app = typer.Typer(
    name="quickset",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 -- Typer calls it like that
    if wanted:
        from importlib.metadata import version

        typer.echo(f"quickset {version('quickset')}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    r"""Set a production-grade FastAPI service in one command, joined to its template for good.

    \b
    Examples:
      quickset new orders-api                 asks a few questions
      quickset new orders-api --defaults      asks nothing
      quickset info orders-api                what it was made of
    """


@app.command(epilog=_EPILOG)
def new(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The folder to make: new, empty, or an empty git repository.")
    ],
    *,
    defaults: Annotated[bool, typer.Option("--defaults", help="Ask nothing; take the defaults.")] = False,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask nothing; take a preset: standard or minimal.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="KEY=VALUE", help="Ask nothing; give an answer. May be repeated."),
    ] = None,
    data_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask nothing; take answers from YAML or JSON.")
    ] = None,
    no_git: Annotated[bool, typer.Option("--no-git", help="Neither git init nor a commit.")] = False,
    no_lock: Annotated[bool, typer.Option("--no-lock", help="Do not lock the dependencies.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be made, and write nothing.")] = False,
    template: Annotated[
        str | None, typer.Option(metavar="URL", help="Another template: a git URL (https, ssh, file) or a folder.")
    ] = None,
    ref: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Another state than the newest release: X.Y.Z, HEAD, or a ref of --template."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    r"""Make a service: rendered, with its .env, locked and committed.

    At a terminal it asks for a preset and then only what that leaves open. With --defaults, --preset, --data or
    --data-file it asks nothing: what they do not answer takes its default. --data wins over --data-file, and that
    over --preset. Nothing is at PATH before all of it is done.

    --template takes a fork, or any Copier template; its releases are its tags, and without any it is HEAD. Nothing
    that a template brings is run, and credentials in its URL are used but never recorded.

    \b
    Examples:
      quickset new orders-api
      quickset new orders-api --preset minimal --data layout=layered
      quickset new orders-api --data database=postgresql --no-lock
      quickset new orders-api --data-file answers.yml --dry-run
      quickset new orders-api --template git@example.com:team/template.git --ref v2.1.0
    """
    with _failing():
        if not path:
            raise UsageError("PATH is empty.")
        unattended = bool(defaults or preset is not None or data or data_file)
        if not unattended and (quiet or as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
            raise UsageError(
                "there is no terminal to ask at; say what you want by --defaults, --preset NAME, --data KEY=VALUE or "
                "--data-file FILE."
            )
        from quickset import answers
        from quickset import new as command

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
        from quickset import report

        if as_json:
            created = command.new(request)
            typer.echo(report.as_json(created, dry_run=dry_run, next=report.next_commands(created)))
        else:
            created = command.new(request, progress=report.progress)
            report.show_created(created, dry_run=dry_run, out=report.console())


@app.command(epilog=_EPILOG)
def info(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="The service; by default the folder you are in.", show_default=False),
    ] = Path(),
    *,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    r"""Show what a service was made of.

    Its answers, the version of its template, its components, and which files belong to which.

    \b
    Examples:
      quickset info
      quickset info orders-api --json
    """
    with _failing():
        from contextlib import nullcontext

        from quickset import info as command
        from quickset import report

        with nullcontext() if quiet or as_json else report.progress("Comparing renders"):
            found = command.info(path)
        if as_json:
            typer.echo(report.as_json(found))
        elif not quiet:
            report.show_info(found, out=report.console())


@contextmanager
def _failing() -> Iterator[None]:
    """End a command over a fault with one line and the fault's exit code."""
    try:
        yield
    except QuicksetError as error:
        typer.echo(f"quickset: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("quickset: interrupted; nothing was written.", err=True)
        raise typer.Exit(QuicksetError.exit_code) from None


def run() -> None:
    """Run the command line.

    Raises:
        KeyboardInterrupt: It came while arguments were read.
        SystemExit: Always, with the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files may hold what the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="quickset")
    except SystemExit as end:
        if end.code == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
