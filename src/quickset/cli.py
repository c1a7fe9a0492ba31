"""Define the command line: options, help, exit codes. Each command imports what it needs when it runs."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quickset.errors import ConflictError, QuicksetError, UsageError, os_reason

if TYPE_CHECKING:
    from quickset.updating.plan import Progress, Result

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
# Typer's own texts take two lines.
_COMPLETION = {
    "install_completion": "Install completion for the current shell.",
    "show_completion": "Show the completion script for the current shell.",
}


# Typer imports pydantic to convert an option without a value, such as its own `--help`. That takes longer than all of
# `check`. So such an option is off by default there, and the arguments are not converted.
def _off(option: Any) -> Any:
    if option is not None:
        option.default = False
    return option


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if param.name in _COMPLETION:
                _off(param).help = _COMPLETION[param.name]
        return params

    def get_help_option(self, ctx: Any) -> Any:
        return _off(super().get_help_option(ctx))


class _LightCommand(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if param.name == "answers_file":
                # It is text already, and pydantic would convert its default, too.
                param.process_value = lambda ctx, value: value  # type: ignore[method-assign]  # noqa: ARG005
        return params

    def get_help_option(self, ctx: Any) -> Any:
        return _off(super().get_help_option(ctx))


def _presets(incomplete: str) -> list[str]:
    from quickset import completion

    return completion.presets(incomplete)


def _answers(incomplete: str) -> list[str]:
    from quickset import completion

    return completion.given_answers(incomplete)


def _components(context: typer.Context, incomplete: str) -> list[str]:
    from quickset import completion

    return completion.components(context.params.get("path") or Path(), incomplete, add=context.info_name == "add")


# Typer's Rich help takes three times as long to start.
app = typer.Typer(
    name="quickset",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


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
      quickset new orders-api              answer a few questions
      quickset new orders-api --defaults   accept the defaults
      quickset info orders-api             show answers, version and components
      quickset check orders-api            check for a newer template
    """


AnswersFile = Annotated[
    str,
    typer.Option(
        "--answers-file",
        metavar="FILE",
        help="Answers file, if it is not .copier-answers.yml.",
        show_default=False,
    ),
]


@app.command(epilog=_EPILOG)
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
            autocompletion=_answers,
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

    At a terminal, quickset asks for a preset, and then only for what the preset leaves open. With --defaults, --preset,
    --data or --data-file it asks nothing, and all other questions take their defaults. --data overrides --data-file,
    which overrides --preset. PATH is created only after every step succeeds.

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
    with _failing():
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
        typer.Argument(metavar="PATH", help="The service. Default: the current folder.", show_default=False),
    ] = Path(),
    *,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show the answers, version and components of a service.

    For each component, quickset lists the files that belong to it.

    \b
    Examples:
      quickset info
      quickset info orders-api --json
    """
    with _failing():
        from quickset import report
        from quickset.commands import info as command

        with nullcontext() if quiet or as_json else report.progress("Comparing renders"):
            found = command.info(path, answers_file=answers_file)
        with _writing():
            if as_json:
                typer.echo(report.as_json(found))
            elif not quiet:
                report.show_info(found, out=report.console())


Service = Annotated[
    Path, typer.Argument(metavar="PATH", help="The service. Default: the current folder.", show_default=False)
]
NoLock = Annotated[bool, typer.Option("--no-lock", help="Do not update uv.lock.")]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="X.Y.Z, or HEAD of a checkout. Default: newest."),
]
Template = Annotated[
    str | None,
    typer.Option(metavar="URL", help="New location of the template, if it has moved."),
]


Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="KEY=VALUE",
        autocompletion=_answers,
        help="Answer a new question, or replace an invalid answer.",
    ),
]


FixImports = Annotated[bool, typer.Option("--fix-imports", help="Rewrite your imports of modules that moved.")]


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
    """Preview what `update` would do, file by file.

    The output is the difference, then what would happen to each file, then your lines that use old names of modules
    and commands, then what to know before you deploy. Nothing is changed. The exit code is 1 if there is something to
    update, and 3 if the update would have conflicts.

    \b
    Examples:
      quickset diff
      quickset diff orders-api --to 0.2.0
      quickset diff --json
    """
    with _failing():
        from quickset import report
        from quickset.commands import update as command
        from quickset.templates import answers

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
    defaults: Annotated[bool, typer.Option("--defaults", help="Ask nothing. New questions change nothing.")] = False,
    data: Data = None,
    branch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Commit to this branch, and leave index and files.")
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
    current branch. Uncommitted changes stay; if the update needs one of these files, it is refused. Conflicts are git
    conflicts: resolve them, run `git add`, then run `quickset update --continue`. Your lines that use old names of
    modules and commands are listed with the new names; --fix-imports rewrites the imports among them.

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
        from quickset.commands import update as command

        if go_on + abort + dry_run > 1 or ((go_on or abort) and (to or template or data or branch or fix_imports)):
            raise UsageError(
                "--continue, --abort and --dry-run cannot be combined, and the first two take no other options."
            )
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
        _end(done, would=False, quiet=quiet, as_json=as_json)


Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", autocompletion=_components, help="Components, such as docker or cache=memory."),
]
At = Annotated[
    Path, typer.Option("--path", metavar="PATH", help="The service. Default: the current folder.", show_default=False)
]
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
    """Turn on components of a service, or change them.

    quickset merges as in `update`: your edits stay, the result is staged, and conflicts are git conflicts.

    \b
    Examples:
      quickset add docker
      quickset add database=postgresql
      quickset add docker --path orders-api --dry-run
    """
    with _failing():
        from quickset.commands import components

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
    """Turn off components of a service.

    quickset merges as in `update`. A file that you edited is kept or becomes a conflict; no edit is lost.

    \b
    Examples:
      quickset remove example
      quickset remove docker --dry-run
    """
    with _failing():
        from quickset.commands import components

        show = _progress(silent=quiet or as_json)
        options: dict[str, Any] = {"answers_file": answers_file, "lock": not no_lock, "dry_run": dry_run}
        done = components.remove(path, names, progress=show, **options)
        _end(done, would=dry_run, quiet=quiet, as_json=as_json)


def _progress(*, silent: bool) -> "Progress":
    from quickset import report

    return (lambda _: nullcontext()) if silent else report.progress


def _end(result: "Result", *, would: bool, quiet: bool, as_json: bool) -> None:
    """Report what was done, or would be done, and end with the matching exit code."""
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
    drift: Annotated[bool, typer.Option("--drift", help="Also list files that differ from a fresh render.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="With --drift: exit with 1 if a file differs.")] = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check whether services are behind their template.

    Give any number of paths. The default is the current folder. quickset compares versions, and writes nothing.

    \b
    A service is
      current     at the newest release of the template
      behind      at an older one
      ahead       at a newer one than this quickset knows
      unknown     of a release or a template that this quickset does not know
      conflicted  in an update that has unresolved conflicts

    \b
    Exit codes, the first that applies to any service:
      5  unknown, or the answers file is damaged
      2  not a service
      3  conflicted
      1  behind, or drifted with --strict
      0  current or ahead

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
            raise UsageError("--strict needs --drift.")
        from quickset.commands import check as command

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
    """Report an error in one line, and end the command with the exit code of the error."""
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
    """End the command if its output cannot be written."""
    try:
        yield
    except OSError as error:
        raise typer.Exit(unwritten(error)) from error


def run() -> None:
    """Run the command line.

    Raises:
        KeyboardInterrupt: The user interrupted while arguments were parsed.
        SystemExit: Always, with the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files may contain characters that the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
    code: str | int | None = 0
    words: AbstractContextManager[None] = nullcontext()
    if os.environ.get("_QUICKSET_COMPLETE") == "complete_bash":
        from quickset import completion

        words = completion.whole_words(os.environ)
    try:
        with words:
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
    """Report that the output could not be written, unless its reader closed the pipe.

    Args:
        error: What was raised.

    Returns:
        The exit code.
    """
    # The buffered rest would raise the same error again at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        typer.echo(f"quickset: the output could not be written: {error.strerror}", err=True)
    return QuicksetError.exit_code
