"""The command line: options, help, exit codes. Each command imports what it needs when it runs."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from quickset.errors import ConflictError, QuicksetError, UsageError, os_reason

if TYPE_CHECKING:
    from quickset.transition import Progress, Result

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


# Where an option has no value, as the `--help` that it adds itself, Typer imports pydantic to convert nothing. That
# takes longer than all of `check`, so there `--help` is off by default, and arguments are taken as they are.
def _off(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.default = False
    return option


class _Group(TyperGroup):
    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _off(super().get_help_option(ctx))


class _LightCommand(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if param.name == "answers_file":
                # A text stays as it is; its default, too, would be converted by pydantic.
                param.process_value = lambda ctx, value: value  # type: ignore[method-assign]  # noqa: ARG005
        return params

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _off(super().get_help_option(ctx))


# Plain help: Typer's Rich help takes three times as long to start.
app = typer.Typer(
    name="quickset",
    cls=_Group,
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
    """Generate a production-ready FastAPI service and keep it up to date with its template.

    \b
    Examples:
      quickset new orders-api                 asks a few questions
      quickset new orders-api --defaults      asks nothing
      quickset info orders-api                what it was made of
      quickset check orders-api               whether its template has moved on
    """


AnswersFile = Annotated[
    str,
    typer.Option(
        "--answers-file",
        metavar="FILE",
        help="The service's answers file; by default .copier-answers.yml, or the only .copier-answers*.yml.",
        show_default=False,
    ),
]


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
    """Make a service: rendered, with its .env, locked and committed.

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
            with _writing():
                typer.echo(report.as_json(created, dry_run=dry_run, next=report.next_commands(created)))
        else:
            created = command.new(request, progress=report.progress)
            with _writing():
                report.show_created(created, dry_run=dry_run, out=report.console())


@app.command(epilog=_EPILOG)
def info(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="The service; by default the folder you are in.", show_default=False),
    ] = Path(),
    *,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show what a service was made of.

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
            found = command.info(path, answers_file=answers_file)
        with _writing():
            if as_json:
                typer.echo(report.as_json(found))
            elif not quiet:
                report.show_info(found, out=report.console())


Service = Annotated[
    Path, typer.Argument(metavar="PATH", help="The service; by default the folder you are in.", show_default=False)
]
NoLock = Annotated[bool, typer.Option("--no-lock", help="Do not lock the dependencies anew.")]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="X.Y.Z, or HEAD of a quickset checkout; by default the newest."),
]
Template = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the template is now; by default where the service was made from."),
]


Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data", "-d", metavar="KEY=VALUE", help="Answer a new question, or one whose answer is not valid any more."
    ),
]


FixImports = Annotated[
    bool, typer.Option("--fix-imports", help="Rewrite your own imports of modules that the template moved, too.")
]


@app.command(epilog=_EPILOG)
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
    """Show what `update` would do, file by file, and change nothing.

    First the difference, then each file: added, changed, merged with yours, in conflict, removed, kept or moved. Then
    your lines that use old names of modules and commands, and what to know before a deploy. Exit code 1 when there is
    something to update, 3 when that would conflict.

    \b
    Examples:
      quickset diff
      quickset diff orders-api --to 0.2.0
      quickset diff --json
    """
    with _failing():
        from quickset import answers, report
        from quickset import update as command

        out = report.console()
        request = command.Request(
            path=path,
            answers_file=answers_file,
            to=to,
            template=template,
            data=answers.parse_pairs(data or []),
            fix_imports=fix_imports,
        )
        silent = quiet or as_json
        found = command.preview(request, progress=_progress(silent=silent), colour=out.is_terminal and not silent)
        _end(found, would=True, quiet=quiet, as_json=as_json)


@app.command(epilog=_EPILOG)
def update(
    path: Service = Path(),
    *,
    to: To = None,
    template: Template = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing: new questions leave the service as it is.")
    ] = False,
    data: Data = None,
    branch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Commit on this branch; index and files stay as they are.")
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="Continue after you resolve the conflicts.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Take an update with conflicts back.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; the same as diff.")] = False,
    fix_imports: FixImports = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Update a service to a newer template, and keep your changes.

    What you committed is merged with what the template changed. The result is staged, never committed on the branch
    you are on. Changes that are not committed stay; where the update would touch the same file it refuses. Conflicts
    are git's own: resolve them, `git add`, and --continue. Your lines that use old names of modules and commands are
    listed with the new ones; --fix-imports rewrites the imports among them.

    \b
    Examples:
      quickset update
      quickset update --to 0.2.0 --defaults
      quickset update --fix-imports
      quickset update --branch quickset/update
      quickset update --continue
      quickset update --abort
    """
    with _failing():
        from quickset import update as command

        if go_on + abort + dry_run > 1 or ((go_on or abort) and (to or template or data or branch or fix_imports)):
            raise UsageError("--continue, --abort and --dry-run exclude each other, and the first two other options.")
        if dry_run:
            options: dict[str, Any] = {"answers_file": answers_file, "quiet": quiet, "as_json": as_json}
            diff(path, to=to, template=template, data=data, fix_imports=fix_imports, **options)
            return
        show = _progress(silent=quiet or as_json)
        if go_on:
            done = command.resume(path, lock=not no_lock, progress=show)
        elif abort:
            done = command.abort(path)
        else:
            from quickset import answers

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
        _end(done, would=False, quiet=quiet, as_json=as_json)


Names = Annotated[list[str], typer.Argument(metavar="NAME[=VALUE]…", help="What; `quickset info` lists components.")]
At = Annotated[Path, typer.Option("--path", metavar="PATH", help="The service.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


@app.command(epilog=_EPILOG)
def add(
    names: Names,
    *,
    path: At = Path(),
    dry_run: DryRun = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn components on in a service that exists, or choose others.

    By the same merge as `update`: your edits stay, the result is staged, conflicts are git's.

    \b
    Examples:
      quickset add docker
      quickset add database=postgresql
      quickset add docker --path orders-api --dry-run
    """
    with _failing():
        from quickset import components

        show = _progress(silent=quiet or as_json)
        options: dict[str, Any] = {"answers_file": answers_file, "lock": not no_lock, "dry_run": dry_run}
        done = components.add(path, names, progress=show, **options)
        _end(done, would=dry_run, quiet=quiet, as_json=as_json)


@app.command(epilog=_EPILOG)
def remove(
    names: Names,
    *,
    path: At = Path(),
    dry_run: DryRun = False,
    no_lock: NoLock = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn components off in a service that exists.

    By the same merge as `update`: what you edited is a conflict or kept, never lost.

    \b
    Examples:
      quickset remove example
      quickset remove docker --dry-run
    """
    with _failing():
        from quickset import components

        show = _progress(silent=quiet or as_json)
        options: dict[str, Any] = {"answers_file": answers_file, "lock": not no_lock, "dry_run": dry_run}
        done = components.remove(path, names, progress=show, **options)
        _end(done, would=dry_run, quiet=quiet, as_json=as_json)


def _progress(*, silent: bool) -> "Progress":
    from contextlib import nullcontext

    from quickset import report

    return (lambda _: nullcontext()) if silent else report.progress


def _end(result: "Result", *, would: bool, quiet: bool, as_json: bool) -> None:
    """Tell what was done, or would be, and end with the exit code for it."""
    from quickset import report

    with _writing():
        if as_json:
            typer.echo(report.as_json(result, summary_markdown=report.as_markdown(result)))
        elif not quiet:
            if result.patch:
                typer.echo(result.patch)
            report.show_result(result, would=would, out=report.console())
    if result.conflicts:
        raise typer.Exit(ConflictError.exit_code)
    if would and result.changes:
        raise typer.Exit(1)


@app.command(
    cls=_LightCommand,
    epilog=_EPILOG,
    options_metavar="[OPTIONS] [PATH]...",
    context_settings={"allow_extra_args": True},
)
def check(
    context: typer.Context,
    *,
    drift: Annotated[
        bool, typer.Option("--drift", help="List the files that differ from a fresh render, too. Takes longer.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --drift: a file that differs is something to do.")
    ] = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say whether services are behind their template.

    The services are those at each PATH, by default the one in the folder you are in. Versions are compared and nothing
    is written. A service is current, behind, ahead (of what this quickset knows), unknown (its release or its template
    is not known here) or conflicted (an update of it is not finished).

    \b
    Exit codes, the first that fits any of the services:
      5  unknown, or its answers are damaged
      2  no service
      3  conflicted
      1  behind; with --strict, drifted, too
      0  nothing to do: current or ahead

    \b
    Examples:
      quickset check
      quickset check services/* --json
      quickset check orders-api --drift --strict
    """
    with _failing():
        if "" in context.args:
            raise UsageError("PATH is empty.")
        if strict and not drift:
            raise UsageError("--strict means nothing without --drift; give both.")
        from quickset import check as command

        paths = [Path(path) for path in context.args or ["."]]
        if quiet or as_json:
            found = command.check(paths, drift=drift, answers_file=answers_file)
        else:
            from quickset import report

            found = command.check(paths, drift=drift, answers_file=answers_file, progress=report.progress)
            with _writing():
                report.show_checks(found, out=report.console())
        with _writing():
            if as_json:
                typer.echo(command.as_json(found))
            for each in found:
                if each.error:
                    typer.echo(f"quickset: {each.error}", err=True)
        raise typer.Exit(command.exit_code(found, strict=strict))


@contextmanager
def _failing() -> Iterator[None]:
    """End a command over a fault with one line and the fault's exit code."""
    try:
        yield
    except QuicksetError as error:
        typer.echo(f"quickset: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError as error:
        # Typer would end with 1, which means something else here.
        raise typer.Exit(unwritten(error)) from error
    except OSError as error:
        typer.echo(f"quickset: {os_reason(error)}", err=True)
        raise typer.Exit(QuicksetError.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("quickset: interrupted; nothing was written.", err=True)
        raise typer.Exit(QuicksetError.exit_code) from None


@contextmanager
def _writing() -> Iterator[None]:
    """End a command whose output cannot be written."""
    try:
        yield
    except OSError as error:
        raise typer.Exit(unwritten(error)) from error


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
    code: str | int | None = 0
    try:
        app(prog_name="quickset")
    except SystemExit as end:
        code = end.code
        if code == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt from None
    except OSError as error:
        code = unwritten(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = unwritten(error)
    sys.exit(code)


def unwritten(error: OSError) -> int:
    """Tell that what a command had to say could not be written; who closed the pipe knows it.

    Args:
        error: What was raised.

    Returns:
        The exit code.
    """
    # What is still held back would raise the same again at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        typer.echo(f"quickset: the output could not be written: {error.strerror}", err=True)
    return QuicksetError.exit_code
