"""Write the pictures of the README into `docs`, from real commands at a terminal and a real page in Chromium.

Run `uv run python scripts/screenshots.py`. It needs chromium, chromedriver and a package index. By default, the
pictures show the newest release, which is what `quickset new` renders. `--ref HEAD --out FOLDER` shows the work since.
"""

import argparse
import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from itertools import groupby, pairwise
from pathlib import Path

import pexpect
import pyte
import yaml
from pyte.modes import DECAWM
from pyte.screens import Char
from rich.console import Console
from rich.text import Text
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from quickset import git
from quickset.commands.new import Request, new
from quickset.templates.source import here
from quickset.templates.template import Template

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAME = "orders-api"
WIDTH, SCREEN_ROWS, MOST_ROWS = 92, 60, 40
PAGE = {"x": 0, "y": 0, "width": 1200, "height": 1100, "scale": 0.8}
SECONDS = 120
# What a question and the choice with the pointer start with, and keys.
MARK, POINTER, DOWN, CLEAR_LINE = "🎤", " »", "\x1b[B", "\x15"
# By default, the version of Python would be that of the machine.
ANSWERS = {"project_name": "Orders API", "python_version": "3.11"}
# What the owner of the older service has changed. The template must have changed the same file since.
EDITED = "app/orders/schemas.py"
EDIT = ("Field(min_length=1, max_length=100)", "Field(min_length=1, max_length=500)")
EDIT_TITLE = "Allow 500 lines in an order"
MERGED = f"  & {EDITED}  merged with your changes"
# The user may be root, for whom Chromium has no sandbox.
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
CUT = Text("⋮", style="bright_black")


class Terminal(pyte.HistoryScreen):
    """A terminal at which a person runs a command.

    Attributes:
        at_questions: What it showed at each question, before the answer.
    """

    def __init__(self) -> None:
        super().__init__(WIDTH, SCREEN_ROWS, history=50_000)
        self.at_questions: list[list[Text]] = []
        self._stream = pyte.Stream(self)
        self._child: pexpect.spawn[str] | None = None
        self._answered = -1

    def run(self, command: str, folder: Path, answers: Mapping[str, str] | None = None) -> list[Text]:
        """Run a command to its end.

        Args:
            command: A command line without quotes.
            folder: Where to run it.
            answers: What to answer, by the beginnings of questions. All other questions get their defaults.

        Returns:
            The rows that it shows, with those that scrolled off the screen.

        Raises:
            RuntimeError: A question of `answers` was not asked.
        """
        self._stream.feed(f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n")
        program, *arguments = command.split()
        if program == "quickset":
            program, arguments = sys.executable, ["-m", "quickset", *arguments]
        left = dict(answers or {})
        size = (self.lines, self.columns)
        self._child = pexpect.spawn(program, arguments, cwd=folder, dimensions=size, encoding="utf-8")
        try:
            while self._read_until(self._waits_for_answer):
                self.at_questions.append(self.rows())
                self._answered, question = self._last_question()
                if found := next((key for key in left if question.startswith(key)), None):
                    self._choose(left.pop(found))
                self._child.send("\r")
        finally:
            self._child.close(force=True)
        if left:
            raise RuntimeError(f"`{command}` did not ask {', '.join(left)}.")
        return self.rows()

    def rows(self) -> list[Text]:
        """Return the rows up to the last one with text."""
        rows = [self._row(line) for line in [*self.history.top, *map(self.buffer.__getitem__, range(self.lines))]]
        while rows and not rows[-1].plain:
            rows.pop()
        return rows

    def write_process_input(self, data: str) -> None:
        """Send what a terminal reports, such as the place of the cursor, to the program."""
        if self._child:
            self._child.send(data)

    def _read_until(self, is_met: Callable[[], bool]) -> bool:
        """Show the output until a condition is met; return False at the end of the output."""
        while self._child and not is_met():
            try:
                output = self._child.read_nonblocking(65_536, timeout=SECONDS)
            except pexpect.EOF:
                return False
            # The emulator knows no dim text. Most terminals show it in gray.
            self._stream.feed(output.replace("\x1b[2m", "\x1b[90m"))
        return True

    def _waits_for_answer(self) -> bool:
        # A question is drawn without automatic line breaks. They return when it is complete.
        return self._last_question()[0] > self._answered and DECAWM in self.mode

    def _last_question(self) -> tuple[int, str]:
        """Return the number of its row, and its text; -1 before the first."""
        found = [(y, line) for y, line in enumerate(self.display) if line.startswith(MARK)]
        y, line = found[-1] if found else (-1 - len(self.history.top), "")
        return y + len(self.history.top), line.removeprefix(MARK).strip()

    def _pointed(self) -> str:
        """Return the choice with the pointer; empty for a question without choices."""
        return next((line for line in self.display if line.startswith(POINTER)), "")

    def _points_elsewhere(self, before: str) -> bool:
        return self._pointed() != before and DECAWM in self.mode

    def _choose(self, answer: str) -> None:
        """Type an answer in the place of the default, or move the pointer to a choice."""
        if self._child is None:
            return
        if not self._pointed():
            self._child.send(f"{CLEAR_LINE}{answer}")
            return
        while answer not in (before := self._pointed()):
            self._child.send(DOWN)
            self._read_until(partial(self._points_elsewhere, before))

    def _row(self, line: Mapping[int, Char]) -> Text:
        cells = (line[x] for x in range(self.columns))
        row = Text.assemble(*(("".join(cell.data for cell in cells), style) for style, cells in groupby(cells, _style)))
        row.rstrip()
        return row


def _style(cell: Char) -> str:
    """Return the style of a cell in the words of Rich."""
    # The emulator calls yellow brown, as the first terminals showed it.
    color = "" if cell.fg == "default" else cell.fg.replace("brown", "yellow").replace("bright", "bright_")
    return " ".join(
        filter(None, ["bold" * cell.bold, "reverse" * cell.reverse, re.sub("^[0-9a-f]{6}$", r"#\g<0>", color)])
    )


def main() -> None:
    """Run everything in a temporary folder, and write the pictures."""
    parser = argparse.ArgumentParser(description="Write the pictures of the README.")
    parser.add_argument("--ref", help="a release, or HEAD; by default the newest release")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    template = here().template(given.ref)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        forget_machine(folder / ".gitconfig")
        pictures = {**show_new(folder, template, given.ref), **show_update(folder / "older", template, given.ref)}
        for name, rows in pictures.items():
            (given.out / f"{name}.svg").write_text(draw(name, rows, f"quickset {template.version}"), encoding="utf-8")
        (given.out / "api.png").write_bytes(show_docs(folder / NAME))
    print(f"The pictures in {given.out} show {template.ref}.")


def forget_machine(settings: Path) -> None:
    """Replace the settings and the user of the machine, which a picture must not show.

    Args:
        settings: Where to write the settings of git.
    """
    settings.write_text("[user]\nname = Jane Doe\nemail = jane@example.com\n", encoding="utf-8")
    for name in list(os.environ):
        if name.startswith(("GIT_", "NO_COLOR", "VIRTUAL_ENV")):
            del os.environ[name]
    os.environ |= {"GIT_CONFIG_GLOBAL": str(settings), "GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"}
    os.environ |= {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}


def show_new(folder: Path, template: Template, ref: str | None) -> dict[str, list[Text]]:
    """Create a service at a terminal, with the default answers.

    Args:
        folder: Where to create it.
        template: What to create it from.
        ref: The name that the user gives to it.

    Returns:
        The rows of two pictures: the questions, and the service.

    Raises:
        RuntimeError: The dependencies were not locked.
    """
    terminal = Terminal()
    questions = yaml.safe_load(template.config())
    answers = {"Preset": "custom", **{questions[name]["help"]: answer for name, answer in ANSWERS.items()}}
    rows = terminal.run(f"quickset new {NAME}" + f" --ref {ref}" * bool(ref), folder, answers)
    tree = _find(rows, f"{NAME}/")
    if not (folder / NAME / "uv.lock").exists():
        raise RuntimeError("\n".join(["The dependencies are not locked:", *(row.plain for row in rows[tree:])]))
    # The last question still shows its choices. If not all fit, the first ones after the service's name are left out.
    asked = terminal.at_questions[-1]
    rest = next(y for y, row in enumerate(asked) if y >= len(asked) - MOST_ROWS + 5 and row.plain.startswith(MARK))
    return {
        "questions": _cut(asked, [range(4), range(rest, len(asked))]),
        "service": _cut(rows, [range(1), range(tree, len(rows))]),
    }


def show_update(folder: Path, template: Template, ref: str | None) -> dict[str, list[Text]]:
    """Preview and run the update of a service that its owner has changed.

    Args:
        folder: Where to create it.
        template: What to update it to.
        ref: The name that the user gives to it.

    Returns:
        The rows of one picture.
    """
    versions = here().versions()
    older = versions[versions.index(template.version) + 1] if template.version in versions else versions[0]
    service = new(Request(path=folder / NAME, ref=older, data={"project_name": "Orders API"})).path
    text = (service / EDITED).read_text(encoding="utf-8")
    (service / EDITED).write_text(text.replace(*EDIT), encoding="utf-8")
    git.run("commit", "--quiet", "--all", f"--message={EDIT_TITLE}", cwd=service)
    to = f" --to {ref}" * bool(ref)
    log = Terminal().run("git log --format=%s", service)
    preview = Terminal().run(f"quickset diff{to}", service)
    update = Terminal().run(f"quickset update{to}", service)
    patch, title = _find(preview, f"diff --git a/{EDITED}"), _find(preview, "Update Orders API")
    merged, deploy = _find(preview, MERGED), _find(preview, "Before you deploy")
    parts = [range(patch, patch + 10), range(title, title + 5), range(merged, merged + 1), range(deploy, deploy + 4)]
    shown = log + _cut(preview, [range(1), *parts])
    title, merged, after = _find(update, "Update Orders API"), _find(update, MERGED), _find(update, "Next:")
    parts = [range(title, title + 3), range(merged, merged + 1), range(after, len(update))]
    return {"update": shown + _cut(update, [range(1), *parts])}


def show_docs(service: Path) -> bytes:
    """Start a service, and take a picture of its docs page.

    Args:
        service: The service.

    Returns:
        The picture, as PNG.
    """
    with running(service) as url, browser(service.parent / "browser") as chrome:
        chrome.get(f"{url}/docs")
        WebDriverWait(chrome, SECONDS).until(lambda page: page.find_elements(By.CLASS_NAME, "opblock"))
        shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"clip": PAGE, "captureBeyondViewport": True})
        return base64.b64decode(shot["data"])


@contextmanager
def running(service: Path) -> Iterator[str]:
    """Run a service on a free port.

    Args:
        service: The service.

    Yields:
        Its address, as soon as it answers.

    Raises:
        RuntimeError: It does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = service.parent / "service.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["uv", "run", "--quiet", "--no-dev", "python", "-m", "app"],
            cwd=service,
            env={**os.environ, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not _is_up(f"http://127.0.0.1:{port}/docs"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The service does not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS)


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """Open Chromium without a window.

    Args:
        profile: The folder for its files.

    Yields:
        Its driver.

    Raises:
        RuntimeError: It is not installed.
    """
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        raise RuntimeError("Install Chromium and its driver: `apt-get install chromium chromium-driver`.")
    options = ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--window-size={PAGE['width']},{PAGE['height']}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    chrome = Chrome(options, ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def draw(name: str, rows: Sequence[Text], title: str) -> str:
    """Draw rows of a terminal.

    Args:
        name: The picture's name.
        rows: The rows.
        title: The title of the terminal's window.

    Returns:
        The picture, as SVG.

    Raises:
        RuntimeError: It is higher than a screen.
    """
    if len(rows) > MOST_ROWS:
        raise RuntimeError(f"The picture {name} has {len(rows)} rows.")
    out = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for row in rows:
        out.print(row, no_wrap=True, crop=False)
    # Without it, Rich derives its ids from the content.
    picture = out.export_svg(title=title, unique_id=f"quickset-{name}")
    # Rich draws letters of 20 pixels and gives no size. A terminal has 16.
    width, height = (float(size) * 0.8 for size in re.findall(r'viewBox="0 0 (\S+) (\S+)"', picture)[0])
    return picture.replace("<svg ", f'<svg width="{width:.0f}" height="{height:.0f}" ', 1)


def _find(rows: Sequence[Text], start: str) -> int:
    """Return the number of the row that starts with a text."""
    for number, row in enumerate(rows):
        if row.plain.startswith(start):
            return number
    raise RuntimeError("\n".join([f"'{start}' is in no row of:", *(row.plain for row in rows)]))


def _cut(rows: Sequence[Text], kept: Iterable[range]) -> list[Text]:
    """Leave out all rows but some, and show where."""
    numbers = sorted({number for some in kept for number in some})
    shown = []
    for before, number in pairwise([-1, *numbers, len(rows)]):
        shown += [CUT] * (number > before + 1)
        shown += rows[number : number + 1]
    return shown


def _is_up(url: str) -> bool:
    """Return whether a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (of this machine)
            return bool(response.status == HTTPStatus.OK)
    except OSError:
        return False


if __name__ == "__main__":
    main()
