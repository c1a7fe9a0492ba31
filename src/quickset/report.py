"""What the terminal shows, and the JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from quickset import git
from quickset.commands.check import Checked, Status
from quickset.errors import QuicksetError
from quickset.locking import find_uv, is_lock
from quickset.shell import join, quote

if TYPE_CHECKING:
    # They import Copier, which takes longer than what some commands do.
    from quickset.commands.info import Info
    from quickset.commands.new import Created
    from quickset.updating.changes import Change
    from quickset.updating.plan import Result
    from quickset.updating.references import Reference

# What each part of a service is for; <package> stands for its package's name.
PARTS: Mapping[str, str] = {
    "<package>": "the service",
    "<package>/commands": "migrate, check and other commands",
    "<package>/core": "settings, errors, health, logs: shared",
    "<package>/auth": "signing in: log-in, tokens, passwords",
    "<package>/clients": "other services that it calls",
    "<package>/users": "who signs in, and their roles",
    "<package>/orders": "the example: a feature with all it needs",
    "<package>/routers": "HTTP, and nothing else",
    "<package>/services": "rules, and nothing else",
    "<package>/repositories": "queries, and nothing else",
    "<package>/models": "tables",
    "<package>/schemas": "bodies of requests and answers",
    "<package>/dependencies": "what routes take as arguments",
    "<package>/main.py": "create_app: where it all comes together",
    "<package>/api.py": "API versions and their routers",
    "migrations": "steps of the database's schema",
    "scripts": "what opens the template's updates for review",
    "tests": "the tests: uv run pytest",
    "Dockerfile": "the image: service and migration step",
    "compose.yaml": "the service and its servers",
    "compose.override.yaml": "the same for development, with reload",
    ".dockerignore": "what stays out of the image",
    ".env": "settings for development, fresh secrets",
    ".env.example": "every setting, explained",
    ".github": "workflows: the template's updates",
    ".gitignore": "what git leaves alone",
    ".gitlab": "jobs: the template's updates",
    ".gitlab-ci.yml": "the parts of the pipeline",
    ".pre-commit-config.yaml": "checks before each commit",
    ".copier-answers.yml": "your answers, the template's version",
    "CHANGELOG.md": "the service's own change log",
    "LICENSE": "the license",
    "README.md": "how to run, test, configure and extend it",
    "justfile": "its commands: uv run just",
    "pyproject.toml": "dependencies and tools",
    "uv.lock": "exact versions of all dependencies",
}

# What these are for does not depend on the template.
_ANYWHERE = (".copier-answers.yml", ".gitignore", "LICENSE", "uv.lock")

_SERVERS = {"postgresql": "PostgreSQL", "mysql": "MySQL or MariaDB"}


class _Output(Console):
    """A console that ends a command over a closed pipe with the exit code of a failure, not with Rich's 1."""

    def on_broken_pipe(self) -> None:
        """Say nothing more, to nobody."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(QuicksetError.exit_code) from None


def console(*, stderr: bool = False) -> Console:
    """Open a console.

    Args:
        stderr: On standard error instead of standard output.

    Returns:
        One that colours nothing by itself; without a terminal, nothing at all.
    """
    return _Output(stderr=stderr, highlight=False)


def progress(text: str) -> AbstractContextManager[object]:
    """Show that something takes its time, where there is a terminal to show it on.

    Args:
        text: What is going on.

    Returns:
        A context that lasts as long as it does.
    """
    shown = console(stderr=True)
    return shown.status(f"{escape(text)} …") if shown.is_terminal else nullcontext()


def show_created(created: "Created", *, dry_run: bool, out: Console) -> None:
    """Show a new service: a tree that says what each part is for, and what to type next.

    Args:
        created: What was made.
        dry_run: Nothing was, really.
        out: Where to show it.
    """
    out.print(service_tree(created))
    out.print()
    version = created.template if created.released else f"{created.template} (unreleased)"
    done = ["", *["locked"] * created.locked, *["committed"] * created.committed]
    count = f"{len(created.files)} files from the template {escape(version)}"
    out.print(f"{'Would make' if dry_run else 'Made'} {count}{', '.join(done)}.", soft_wrap=True)
    for note in created.notes:
        out.print(Text(f"! {note}", style="yellow"), soft_wrap=True)
    if dry_run:
        return
    if commands := next_commands(created):
        out.print("\nNext:")
    for command in commands:
        out.print(Text(f"  {command}", style="bold"), soft_wrap=True)
    if not created.foreign and (need := _need(created.answers)):
        out.print(need, soft_wrap=True)


def service_tree(created: "Created") -> Tree:
    """Draw a service.

    Args:
        created: The service.

    Returns:
        Its parts, each with what it is for, as far as that is known of its template.
    """
    package = str(created.answers.get("package_name", "app"))
    parts = _known_parts(created) if created.foreign else PARTS
    top = sorted({file.split("/")[0] for file in created.files}, key=lambda name: (name in created.files, name))
    inner = sorted({part for file in created.files if (part := _described_part(file, package, parts))})
    tree = Tree(Text(f"{created.path.name}/", style="bold"))
    # Names of the second level are two guides further right.
    widths = [len(name) + 1 for name in top] + [len(name.split("/")[1]) + 5 for name in inner]
    width = max(widths, default=0)
    for name in top:
        folder = name not in created.files
        branch = tree.add(_entry(name, parts.get(_key(name, package), ""), width, folder=folder))
        for part in inner:
            if part.startswith(f"{name}/"):
                text = parts[_key(part, package)]
                branch.add(_entry(part.split("/")[1], text, width - 4, folder=part not in created.files))
    return tree


def _known_parts(created: "Created") -> dict[str, str]:
    """Pick what is known of a service of another template."""
    is_locked = created.locked or is_lock(created.path / "uv.lock")
    return {name: PARTS[name] for name in _ANYWHERE if name != "uv.lock" or is_locked}


def _described_part(file: str, package: str, parts: Mapping[str, str]) -> str | None:
    part = "/".join(file.split("/")[:2])
    return part if "/" in part and _key(part, package) in parts else None


def _key(path: str, package: str) -> str:
    first, slash, rest = path.partition("/")
    return f"<package>{slash}{rest}" if first == package else path


def _entry(name: str, text: str, width: int, *, folder: bool) -> Text:
    label = name + "/" * folder
    return Text.assemble((label.ljust(width + 2) if text else label, "cyan" if folder else ""), (text, "dim"))


def next_commands(created: "Created") -> list[str]:
    """Say what to type next, as far as it exists: into the folder, its tests, and the running service.

    Args:
        created: The service.

    Returns:
        Commands for a POSIX shell, each of which works when pasted after the one before.
    """
    package = created.answers.get("package_name", "app")
    database = created.answers.get("database", "none")
    there = _change_folder(created.path)
    if created.foreign and not _is_like_ours(created):
        return there
    test = ["uv run pytest"]
    if find_uv() is None:
        test.insert(0, "python -m pip install uv")
    start = [f"uv run python -m {quote(str(package))}"]
    if database != "none":
        in_commands = f"{package}/commands/migrate.py" in created.files
        start.insert(0, f"{start[0]} migrate" if in_commands else f"uv run python -m {quote(f'{package}.migrate')}")
    if database in _SERVERS and created.answers.get("docker"):
        start.insert(0, "docker compose up --detach --wait database")
    return [*there, " && ".join(test), " && ".join(start)] if there else [" && ".join(test), *start]


def _is_like_ours(created: "Created") -> bool:
    """Tell whether the commands of this template's services exist in one of another template, such as a fork."""
    package = created.answers.get("package_name", "app")
    needed = {"pyproject.toml", "tests/conftest.py", f"{package}/__main__.py"}
    if created.answers.get("database", "none") != "none":
        needed.add(f"{package}/migrate.py")
    return needed <= {*created.files}


def _need(answers: Mapping[str, Any]) -> str | None:
    server = _SERVERS.get(str(answers.get("database")))
    if server is None:
        return None
    if answers.get("docker"):
        return f"The last two need Docker, which brings {server}; without it, see README.md."
    return f"The last two need {server}: at TEST_DATABASE_URL for the tests, at DATABASE_URL (in .env) for the service."


def show_info(info: "Info", *, out: Console) -> None:
    """Show what is known of a service.

    Args:
        info: What is known.
        out: Where to show it.
    """
    version = info.template if info.released else f"{info.template} (unreleased)"
    out.print(Text(str(info.path), style="bold"), soft_wrap=True)
    out.print(Text(f"template {version} of {info.source}"), soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in info.answers.items():
        table.add_row(Text(name, style="cyan"), Text(_shown(value)))
    out.print("\nAnswers")
    out.print(table)
    out.print("\nComponents")
    for component in info.components:
        tree = Tree(Text.assemble((component.name, "cyan"), f" {component.value}" * (component.value != "true")))
        for file in component.files:
            tree.add(Text(file).append("  deleted" * (file in component.missing), style="yellow"))
        if component.shared:
            tree.add(Text(f"and lines in {', '.join(component.shared)}", style="dim"))
        out.print(tree)
    if info.off:
        out.print(Text(f"off: {', '.join(info.off)}", style="dim"))
    for note in info.notes:
        out.print(Text(f"! {note}", style="yellow"), soft_wrap=True)


_KINDS: Mapping[str, tuple[str, str, str]] = {
    # kind: sign, style, what it means
    "added": ("+", "green", "added"),
    "changed": ("~", "cyan", "changed"),
    "merged": ("&", "cyan", "merged with your changes"),
    "moved": (">", "cyan", "moved"),
    "removed": ("-", "red", "removed"),
    "kept": ("=", "yellow", "kept: the template removed it, you had changed it"),
    "deleted": ("=", "yellow", "stays deleted: you deleted it, the template changed it"),
    "yours": ("=", "yellow", "stays as you have it"),
    "ignored": ("=", "yellow", "left out: you ignore it"),
    "rewritten": ("~", "cyan", "imports rewritten"),
    "conflict": ("!", "bold red", "conflict"),
}


def show_result(result: "Result", *, would: bool, out: Console) -> None:
    """Show what an update did or would do: each file, what to know before a deploy, and what to do next.

    Args:
        result: The update.
        would: It was a preview.
        out: Where to show it.
    """
    if result.title:
        out.print(Text(result.title, style="bold"), soft_wrap=True)
    for change in result.changes:
        sign, style, _ = _KINDS[change.kind]
        out.print(
            Text.assemble((f"  {sign} {_named(change)}", style), (f"  {_meaning(change)}", "dim")), soft_wrap=True
        )
    _show_references(result, out)
    for name, value in result.absent.items():
        text = f"New question {name}: taken as {_shown(value)}; `quickset add` changes it."
        out.print(Text(f"? {text}", style="yellow"), soft_wrap=True)
    for note in result.notes:
        out.print(Text(f"! {note}", style="yellow"), soft_wrap=True)
    if result.deploy:
        out.print("\nBefore you deploy")
        for entry in result.deploy:
            keep = f" {entry.keep}" if entry.keep else ""
            out.print(Text.assemble((f"  {entry.version}  ", "cyan"), entry.text, (keep, "dim")), soft_wrap=True)
    if steps := _after_update(result, would=would):
        out.print("\nNext:")
        for step in steps:
            out.print(Text(f"  {step}", style="bold"), soft_wrap=True)


def _new_form(reference: "Reference", quote: str = "") -> str:
    if reference.new:
        return f" → {quote}{reference.new}{quote}"
    return "" if reference.kind == "line" else " → nothing takes its place"


def _show_references(result: "Result", out: Console) -> None:
    for title, found in _references(result).items():
        out.print(f"\n{title}", soft_wrap=True)
        for each in found:
            sign, style = ("~", "cyan") if each.rewritten else ("!", "yellow")
            place = (f"  {sign} {each.path}:{each.line}", style)
            out.print(Text.assemble(place, f"  {each.old}", (_new_form(each), "dim")), soft_wrap=True)


def _references(result: "Result") -> dict[str, list["Reference"]]:
    """Sort the owner's lines with old names by what there is to do about them."""
    found: dict[str, list[Reference]] = {}
    could = not any(each.rewritten for each in result.references)
    could = could and any(each.kind == "import" for each in result.references)
    rest = "Old names in your files" + "; `--fix-imports` rewrites the imports" * could
    for each in result.references:
        title = "Your lines to move" if each.kind == "line" else "Rewritten imports" if each.rewritten else rest
        found.setdefault(title, []).append(each)
    return found


def _named(change: "Change") -> str:
    return f"{change.source} → {change.path}" if change.source else change.path


def _meaning(change: "Change") -> str:
    return _KINDS[change.kind][2] + f" ({change.note})" * bool(change.note)


def _after_update(result: "Result", *, would: bool) -> list[str]:
    if would or not (result.changes or result.conflicts):
        return []
    there = _change_folder(result.path)
    if result.conflicts:
        if result.branch is None and not result.applied_ms:
            return []
        # Without the option git does not add what a sparse checkout leaves out.
        add = ("git", "add", *["--sparse"] * git.is_sparse(result.path))
        return [
            *there,
            f"{join(*add, *result.conflicts)}   # once they are resolved",
            "quickset update --continue",
        ]
    if result.branch:
        return [*there, *result.next_steps] if result.next_steps else []
    check = ["uv run just check"] if _has_check(result.path) else []
    return [*there, *_leftovers(result), *result.next_steps, *check, join("git", "commit", "-m", result.title)]


def _has_check(path: Path) -> bool:
    """Tell whether a service has the recipe `check`, and a `just` of its own to run it."""
    texts = []
    for name in ("justfile", "pyproject.toml"):
        try:
            texts.append((path / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return False
    return bool(re.search(r"^check(\s[^:=]*)?:(?!=)", texts[0], re.MULTILINE)) and "rust-just" in texts[1]


def _leftovers(result: "Result") -> list[str]:
    """Say what to do with files that nothing uses any more."""
    kept = [change.path for change in result.changes if change.kind == "kept"]
    return [f"{join('git', 'rm', *kept)}   # once what you need of it is elsewhere"] if kept else []


def _change_folder(path: Path) -> list[str]:
    """Say how to get to a service; nothing where one is there already."""
    here = Path.cwd()
    if path == here:
        return []
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return [join("cd", f"./{shown}" if str(shown).startswith("-") else str(shown))]


def as_markdown(result: "Result") -> str:
    """Tell of an update in the text of a commit or of a pull request.

    Args:
        result: The update.

    Returns:
        Markdown.
    """
    parts = []
    if result.deploy:
        lines = [
            f"- **{entry.version}** {entry.text}{f' {entry.keep}' if entry.keep else ''}" for entry in result.deploy
        ]
        parts.append("\n".join(["## Before you deploy", "", *lines]))
    if result.changes:
        lines = [f"- `{_named(change)}`: {_meaning(change)}" for change in result.changes]
        parts.append("\n".join(["## Files", "", *lines]))
    for title, found in _references(result).items():
        lines = [f"- `{each.path}:{each.line}`: `{each.old}`{_new_form(each, '`')}" for each in found]
        parts.append("\n".join([f"## {title}", "", *lines]))
    if result.absent:
        lines = [f"- `{name}`: taken as `{_shown(value)}`" for name, value in result.absent.items()]
        parts.append("\n".join(["## New questions", "", *lines]))
    if result.notes:
        parts.append("\n".join(["## Notes", "", *(f"- {note}" for note in result.notes)]))
    return "\n\n".join(parts)


_STYLES: Mapping[Status, str] = {
    Status.CURRENT: "green",
    Status.BEHIND: "yellow",
    Status.AHEAD: "cyan",
    Status.UNKNOWN: "magenta",
    Status.CONFLICTED: "red",
}


def show_checks(found: Sequence[Checked], *, out: Console) -> None:
    """Show how services stand to their templates: a table in a terminal, else a line for each.

    Args:
        found: What was found out; what failed is left to whoever tells of errors.
        out: Where to show it.
    """
    told = [each for each in found if each.status in _STYLES]
    if not told:
        return
    if out.is_terminal:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in told:
            table.add_row(Text(each.status, style=_STYLES[each.status]), Text(str(each.path)), Text(_standing(each)))
            for drift in each.drift or ():
                table.add_row("", Text(f"  {drift.path}", style="dim"), Text(drift.kind, style="dim"))
        out.print(table)
    else:
        width = max(len(str(each.path)) for each in told)
        for each in told:
            line = f"{each.status:<10}  {each.path!s:<{width}}  {_standing(each)}"
            out.print(Text(line.rstrip()), soft_wrap=True)
            for drift in each.drift or ():
                out.print(Text(f"{'':<10}  {drift.kind:<7}  {drift.path}"), soft_wrap=True)
    if any(each.status is Status.BEHIND for each in told):
        out.print("\n`quickset diff` shows what an update brings, `quickset update` brings it.", soft_wrap=True)


def _standing(checked: Checked) -> str:
    """Say in words how a service stands to its template."""
    parts = [checked.version] if checked.version else []
    if checked.behind:
        parts.append(f"{checked.behind} release{'s' * (checked.behind > 1)} behind {checked.newest}")
    if checked.status is Status.AHEAD and checked.newest:
        parts.append(f"the newest known here is {checked.newest}")
    if checked.reason:
        parts.append(checked.reason)
    if checked.drift is not None:
        parts.append(
            f"{len(checked.drift)} of the template's files differ{'s' * (len(checked.drift) == 1)}"
            if checked.drift
            else "as rendered"
        )
    return ", ".join(parts)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_json(value: "Created | Info | Result", **more: Any) -> str:
    """Write a result for scripts.

    Args:
        value: The result.
        **more: What stands beside it.

    Returns:
        One JSON document.
    """
    return json.dumps(asdict(value) | more, indent=2, default=str)
