"""Show the result of an update."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from quickset import git
from quickset.report.console import change_folder
from quickset.shell import join
from quickset.updating.summary import describe_change, group_references, name_change, new_form, show_value

if TYPE_CHECKING:
    # These modules import Copier, which takes longer than some commands.
    from quickset.updating.changes import Kind
    from quickset.updating.result import UpdateResult

_SIGNS: Mapping["Kind", tuple[str, str]] = {
    # kind: sign, style
    "added": ("+", "green"),
    "changed": ("~", "cyan"),
    "merged": ("&", "cyan"),
    "moved": (">", "cyan"),
    "removed": ("-", "red"),
    "kept": ("=", "yellow"),
    "deleted": ("=", "yellow"),
    "yours": ("=", "yellow"),
    "ignored": ("=", "yellow"),
    "rewritten": ("~", "cyan"),
    "conflict": ("!", "bold red"),
}


def show_result(result: "UpdateResult", *, would: bool, out: Console) -> None:
    """Show the result of an update: each file, what to know before a deploy, and the commands to run next.

    Args:
        result: The result.
        would: It was a preview.
        out: The console.
    """
    if result.title:
        out.print(Text(result.title, style="bold"), soft_wrap=True)
    for change in result.changes:
        sign, style = _SIGNS[change.kind]
        out.print(
            Text.assemble((f"  {sign} {name_change(change)}", style), (f"  {describe_change(change)}", "dim")),
            soft_wrap=True,
        )
    _show_references(result, out)
    for name, value in result.absent.items():
        text = f"New question {name}: taken as {show_value(value)}; `quickset add` changes it."
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


def _show_references(result: "UpdateResult", out: Console) -> None:
    for title, found in group_references(result).items():
        out.print(f"\n{title}", soft_wrap=True)
        for each in found:
            sign, style = ("~", "cyan") if each.rewritten else ("!", "yellow")
            place = (f"  {sign} {each.path}:{each.line}", style)
            out.print(Text.assemble(place, f"  {each.old}", (new_form(each), "dim")), soft_wrap=True)


def _after_update(result: "UpdateResult", *, would: bool) -> list[str]:
    if would or not (result.changes or result.conflicts):
        return []
    there = change_folder(result.path)
    if result.conflicts:
        if result.branch is None and not result.applied_ms:
            return []
        # Without this option, git does not add files that a sparse checkout leaves out.
        add = ("git", "add", *["--sparse"] * git.is_sparse(result.path))
        return [
            *there,
            f"{join(*add, *result.conflicts)}   # after you resolve them",
            "quickset update --continue",
        ]
    if result.branch:
        return [*there, *result.next_steps] if result.next_steps else []
    check = ["uv run just check"] if _has_check(result.path) else []
    return [*there, *_leftovers(result), *result.next_steps, *check, join("git", "commit", "-m", result.title)]


def _has_check(path: Path) -> bool:
    """Return whether a service has the recipe `check`, and `just` among its dependencies."""
    texts = []
    for name in ("justfile", "pyproject.toml"):
        try:
            texts.append((path / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return False
    return bool(re.search(r"^check(\s[^:=]*)?:(?!=)", texts[0], re.MULTILINE)) and "rust-just" in texts[1]


def _leftovers(result: "UpdateResult") -> list[str]:
    """Return the command that deletes the files that are no longer used."""
    kept = [change.path for change in result.changes if change.kind == "kept"]
    return [f"{join('git', 'rm', *kept)}   # after you move what you need of it elsewhere"] if kept else []
