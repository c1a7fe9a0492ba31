import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pexpect
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from quickset import git
from quickset.cli.app import app
from quickset.commands.new import Request, new
from quickset.templates.source import Source
from tests.cli.conftest import Run, leftovers

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    """Every command has help with an example and the table of exit codes."""
    shown = CliRunner().invoke(app, [name, "--help"]).output

    assert f"  quickset {name}" in shown.split("Examples:")[1]
    assert "4  refused, nothing touched" in shown


def test_overview(quickset: Run) -> None:
    """Help lists the commands and is also shown without arguments."""
    shown, bare = quickset("--help"), quickset()

    assert shown.returncode == 0
    assert all(f"\n  {name} " in shown.stdout for name in COMMANDS)
    assert "Exit codes:" in shown.stdout
    assert bare.returncode == 2
    assert "Commands:" in bare.stdout + bare.stderr


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_whole_lines(name: str, columns: int) -> None:
    """Help fits the terminal, has complete sentences, and describes each option on one line."""
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": str(columns)}).output
    options = shown.split("Options:\n")[1].split("\n\n")[0].splitlines()

    assert max(map(len, shown.splitlines())) <= columns
    assert "..." not in shown.partition("\n")[2]
    assert [line for line in options if not line.lstrip().startswith("-")] == []


def test_commands_are_listed_in_one_line_each() -> None:
    """In a terminal of 80 columns each command is listed with a complete sentence."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    listed = shown.split("Commands:\n")[1].split("\n\n")[0].splitlines()

    assert len(listed) == len(COMMANDS)
    assert [line for line in listed if not line.endswith(".")] == []


@pytest.mark.ci
def test_closed_streams(command: list[str], origin: Source, work: Path) -> None:
    """A closed standard stream counts as no terminal, and every command ends with its usual exit code."""
    new(Request(path=work / "a", lock=False), template_source=origin)
    calls = {
        "add extras=metrics --dry-run --path a <&-": 1,
        "check a >&-": 0,
        "diff a 2>&-": 0,
        "info a >&- 2>&-": 0,
        "new b <&-": 2,
        "remove example --dry-run --path a <&- >&- 2>&-": 1,
        "update a <&-": 0,
        "--help >&-": 0,
        "--version <&- >&- 2>&-": 0,
    }
    ended = {}
    for call in calls:
        line = ["/bin/sh", "-c", f'"$@" {call}', "sh", *command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        ended[call] = done.returncode

    assert ended == calls


def test_new_with_closed_streams(command: list[str], work: Path) -> None:
    """With closed streams the output of git and uv is not written to files of the service."""
    line = '"$@" new a --defaults --no-lock <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", line, "sh", *command], timeout=60, check=False)

    assert done.returncode == 0
    assert git.run("status", "--porcelain", cwd=work / "a") == ""
    assert (work / "a" / "run.sh").read_text() == "#!/bin/sh\n"


def test_version(quickset: Run) -> None:
    """`--version` and its short form print the version of the package."""
    expected = f"quickset {version('quickset')}\n"

    assert quickset("--version").stdout == expected
    assert CliRunner().invoke(app, ["--version"]).output == expected


@pytest.mark.parametrize(
    ("args", "unwanted"),
    [("--version", {"typer", "copier"}), ("--help", {"copier", "rich", "jinja2", "yaml", "asyncio"})],
)
def test_start_imports_little(args: str, unwanted: set[str]) -> None:
    """Version and help import only what they need."""
    lines = (
        f"import sys; sys.argv = ['quickset', '{args}']",
        "from quickset.__main__ import main",
        "try: main()",
        "except SystemExit: pass",
        "print(*sys.modules)",
    )
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not unwanted & set(done.stdout.splitlines()[-1].split())


def test_new(quickset: Run, work: Path) -> None:
    """The output is a tree with descriptions, the completed steps and the next commands, without colors."""
    done = quickset("new", "orders-api", "--defaults", "--no-lock")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("orders-api/\n")
    assert "Dockerfile" in done.stdout
    assert "files from template" in done.stdout
    assert "First commit made." in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-3] == "  cd orders-api"


def test_new_json(quickset: Run, work: Path) -> None:
    """`--json` prints one JSON document and nothing else."""
    done = quickset("new", "a", "-d", "database=none", "--json", "--no-lock")

    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["answers"]["database"] == "none"
    assert document["committed"] is True
    assert document["next"][0] == "cd a"


def test_quiet(quickset: Run, work: Path) -> None:
    """`--quiet` prints only errors."""
    done = quickset("new", "a", "--defaults", "--quiet", "--no-lock")
    refused = quickset("new", "a", "--defaults", "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr == "quickset: a is not empty; give a new or an empty folder.\n"


def test_dry_run(quickset: Run, work: Path) -> None:
    """A dry run shows the same tree and writes no file."""
    shown = quickset("new", "a", "--defaults", "--no-lock", "--dry-run")
    assert list(work.iterdir()) == []

    made = quickset("new", "a", "--defaults", "--no-lock")
    assert shown.stdout.split("\n\n")[0] == made.stdout.split("\n\n")[0]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a"], "no terminal to ask questions at; use --defaults"),
        (["a", "--json"], "no terminal"),
        (["", "--defaults"], "PATH is empty"),
        (["a", "--preset", "huge"], "--preset: 'huge' is none of: 'standard', 'minimal'"),
        (["a", "--preset", ""], "--preset: '' is none of"),
        (["a", "--data", "database"], "--data: 'database' is not KEY=VALUE"),
        (["a", "--data", "=none"], "is not KEY=VALUE"),
        (["a", "--data", "databse=none"], "did you mean 'database'"),
        (["a", "--data-file", "missing.yml"], "--data-file: No such file or directory: missing.yml"),
        (["a", "--data-file", "."], "--data-file: Is a directory"),
        (["a", "--data-file", "list.yml"], "needs names with values"),
        (["a", "--data-file", "broken.yml"], "is neither YAML nor JSON"),
        (["a", "--data-file", "binary.yml"], "is not UTF-8 text"),
        (["a", "--data-file", "twice.yml"], "'docker' is in lines 1 and 3; delete one of the two"),
        (["a", "--data-file", "unknown.json"], "no question 'nope'"),
        (["a", "--defaults", "--ref", "9.9.9"], "there is no release '9.9.9'"),
        (["a", "--bogus"], "No such option"),
        ([], "Missing argument 'PATH'"),
    ],
)
def test_wrong_usage(quickset: Run, work: Path, args: list[str], message: str) -> None:
    """A usage error exits with 2 and one clear line, and creates nothing."""
    (work / "list.yml").write_text("- database\n")
    (work / "broken.yml").write_text("a: [\n")
    (work / "twice.yml").write_text("docker: true\ndatabase: none\n'docker': false\n")
    (work / "binary.yml").write_bytes(b"\xff\xfe\x00")
    (work / "unknown.json").write_text('{"nope": 1}')

    done = quickset("new", *args)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (work / "a").exists()


def test_order_of_answers(quickset: Run, work: Path) -> None:
    """`--data` has priority over `--data-file`, which has priority over `--preset`."""
    (work / "answers.json").write_text('{"example": true, "package_name": "filed"}')

    done = quickset(
        *("new", "a", "--preset", "minimal", "--data-file", "answers.json", "--no-lock", "--json"),
        *("--data", "package_name=given=1", "--data", "package_name=given"),
    )

    answers = json.loads(done.stdout)["answers"]
    assert (answers["database"], answers["example"], answers["package_name"]) == ("none", True, "given")


def test_full_disk(command: list[str], work: Path) -> None:
    """If files cannot be written, one line reports it and nothing remains."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    done = subprocess.run(
        [*command, "new", "deep/a", "--defaults", "--no-lock"],
        cwd=work,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 2
    assert list(work.iterdir()) == []


HIDDEN_INTERRUPT = """
import signal
from quickset import __main__
from quickset.cli import app
def run():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError from None
app.run = run
signal.signal(signal.SIGINT, signal.default_int_handler)
__main__.main()
"""


def test_interrupt_that_a_library_hides() -> None:
    """An interrupt that a library turns into another error is still reported as an interrupt."""
    done = subprocess.run([sys.executable, "-c", HIDDEN_INTERRUPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "quickset: interrupted.\n")


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(command: list[str], work: Path, tmp_path: Path, delay: float, number: signal.Signals) -> None:
    """An interrupt at any moment leaves either nothing or the complete service."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [*command, "new", "deep/a", "--defaults", "--no-lock"],
        cwd=work,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr
        assert process.stderr.readline() == "ready\n"
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=30)

    if process.returncode == 5:
        assert "Traceback" not in errors
        assert "interrupted" in errors
        assert list(work.iterdir()) == []
    else:
        # The interrupt came after the end.
        assert process.returncode in {0, -number}, errors
        assert git.run("status", "--porcelain", cwd=work / "deep" / "a") == ""
    assert list(temporary.iterdir()) == []


def test_interrupted_while_locking(quickset: Run, work: Path, fake_uv: Callable[[str], None]) -> None:
    """An interrupt while uv runs stops uv and leaves nothing."""
    fake_uv("kill -INT $PPID; exec sleep 60")

    done = quickset("new", "a", "--defaults")

    assert done.returncode == 5
    assert done.stderr == "quickset: interrupted; nothing was written.\n"
    assert list(work.iterdir()) == []


class Terminal:
    """The command line at a terminal."""

    def __init__(self, command: list[str], *args: str, cwd: Path) -> None:
        self.child: pexpect.spawn[str] = pexpect.spawn(
            command[0], [*command[1:], *args], cwd=str(cwd), encoding="utf-8", timeout=20, dimensions=(50, 120)
        )

    def answer(self, question: str, keys: str = "\r") -> None:
        self.child.expect_exact(question)
        # The prompt reads keys after it is drawn.
        self.child.expect(r"\x1b\[\?25h")
        self.child.send(keys)

    def finish(self) -> tuple[int | None, str]:
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus, str(self.child.before)


DOWN = "\x1b[B"


@pytest.mark.ci
def test_asked_for_names_only(command: list[str], work: Path) -> None:
    """At a terminal the preset is asked first and then only names, because the preset answers the choices."""
    terminal = Terminal(command, "new", "orders-api", "--no-lock", cwd=work)
    terminal.answer("Preset", DOWN + "\r")
    terminal.answer("What is it called?")
    terminal.answer("author_name")
    terminal.answer("package_name", "\x15shop\r")
    code, shown = terminal.finish()

    assert code == 0
    assert "database" not in shown
    recorded = (work / "orders-api" / ".copier-answers.yml").read_text()
    for line in ("project_name: Orders Api", "author_name: Jane Doe", "package_name: shop", "database: none"):
        assert line in recorded


@pytest.mark.ci
def test_asked_for_everything(command: list[str], work: Path) -> None:
    """The custom preset asks every question whose condition is true, and prints a validator's message."""
    terminal = Terminal(command, "new", "a", "--no-lock", cwd=work)
    terminal.answer("Preset", DOWN + DOWN + "\r")
    terminal.answer("What is it called?", "\x151st\r")
    terminal.child.expect_exact("It starts with a letter")
    terminal.child.send("\x15First\r")
    for question, keys in {
        "author_name": "\r",
        "package_name": "\r",
        "python_version": "\r",
        "example": "n",
        "database": DOWN + "\r",
        "pool": "\x159\r",
        "extras": " \r",
        "docker": "n",
    }.items():
        terminal.answer(question, keys)
    assert terminal.finish()[0] == 0

    recorded = (work / "a" / ".copier-answers.yml").read_text()
    for line in ("project_name: First", "database: postgresql", "pool: 9", "- metrics", "docker: false"):
        assert line in recorded


@pytest.mark.parametrize("question", ["Preset", "What is it called?"])
def test_leaving_the_questions(command: list[str], work: Path, question: str) -> None:
    """Ctrl-C at a question ends the command with one line and leaves nothing."""
    terminal = Terminal(command, "new", "a", cwd=work)
    if question != "Preset":
        terminal.answer("Preset")
    terminal.answer(question, "\x03")
    code, shown = terminal.finish()

    assert code == 5
    assert "Traceback" not in shown
    assert "quickset: " in shown
    assert list(work.iterdir()) == []


def test_no_questions_at_a_terminal(command: list[str], work: Path) -> None:
    """With options for the defaults no question is asked, even at a terminal."""
    code, shown = Terminal(command, "new", "a", "--preset", "minimal", "--no-lock", cwd=work).finish()

    assert code == 0
    assert "?" not in shown.replace("\x1b[?", "")
    assert leftovers(work) == []
