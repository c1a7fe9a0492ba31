"""Show what an update did, or would do."""

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
    from quickset.updating.result import Result


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


def _show_references(result: "Result", out: Console) -> None:
    for title, found in group_references(result).items():
        out.print(f"\n{title}", soft_wrap=True)
        for each in found:
            sign, style = ("~", "cyan") if each.rewritten else ("!", "yellow")
            place = (f"  {sign} {each.path}:{each.line}", style)
            out.print(Text.assemble(place, f"  {each.old}", (new_form(each), "dim")), soft_wrap=True)


def _after_update(result: "Result", *, would: bool) -> list[str]:
    if would or not (result.changes or result.conflicts):
        return []
    there = change_folder(result.path)
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
