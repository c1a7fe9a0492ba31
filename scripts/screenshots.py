"""Write the pictures of the README, `docs/new.svg` and `docs/result.svg`, from real runs on the newest release.

Run it by `uv run python scripts/screenshots.py`. The pictures change only when what they show does.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from quickset.commands.info import info
from quickset.commands.new import Created, Request, new
from quickset.report.created import show_created
from quickset.report.info import show_info

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAME = "orders-api"
WIDTH = 84


def main() -> None:
    """Create services in a temporary folder, and write both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        # A picture shows no settings, paths or users of the machine.
        os.environ |= {"HOME": folder, "XDG_CONFIG_HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            os.environ |= {f"GIT_{role}_NAME": "Jane Doe", f"GIT_{role}_EMAIL": "jane@example.com"}
        os.chdir(folder)
        answers = {"project_name": "Orders API", "python_version": "3.11"}
        made = new(Request(path=Path(NAME), data=answers))
        _picture("new", f"quickset new {NAME} --defaults", lambda out: _created(made, out))
        # The list of a default service's files is three screens long.
        small = new(Request(path=Path("minimal", NAME), preset="minimal", data=answers, lock=False))
        found = replace(info(small.path), path=Path(NAME))
        _picture("result", f"quickset info {NAME}", lambda out: show_info(found, out=out))


def _created(made: Created, out: Console) -> None:
    show_created(replace(made, notes=()), dry_run=False, out=out)


def _picture(name: str, command: str, show: Callable[[Console], None]) -> None:
    """Record what a command shows, and save it."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        out = Console(
            record=True,
            width=WIDTH,
            file=nowhere,
            highlight=False,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
        )
        out.print(Text.assemble(("$ ", "green"), (command, "bold")))
        show(out)
        # Without it, Rich derives its ids from the content.
        out.save_svg(str(DOCS / f"{name}.svg"), title=NAME, unique_id=f"quickset-{name}")


if __name__ == "__main__":
    main()
