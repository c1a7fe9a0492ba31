"""The output of `diff`, `update`, `add` and `remove`: texts, documents and exit codes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from quickset import git
from quickset.commands.new import Request, new
from quickset.templates.source import Source
from tests.cli.conftest import COPIER_YML, Run, commit_all, isolate, make_checkout, set_version

NUMBERS = "".join(f"line {number:02}\n" for number in range(1, 31))
QUESTION = "limit: {type: int, default: 100}\n"


def release(checkout: Path, version: str, **files: str) -> None:
    """Release a version with other contents. A double underscore represents a slash."""
    for name, text in files.items():
        file = checkout / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    set_version(checkout, version)
    commit_all(checkout, f"Release {version}")


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a template and a service of its release 0.1.0.

    Release 0.2.0 changes a line. Tests copy the folder.
    """
    folder = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        isolate(folder / "home", patch)
        checkout = make_checkout(folder / "checkout")
        release(checkout, "0.1.0", template__numbers_dot_txt=NUMBERS)
        new(Request(path=folder / "service", lock=False), template_source=Source(checkout))
        release(checkout, "0.2.0", template__numbers_dot_txt=NUMBERS.replace("line 05", "theirs 5"))
    return folder


@pytest.fixture
def service(pristine: Path, checkout: Path, work: Path) -> Path:
    """A service of release 0.1.0, where 0.2.0 changes a line."""
    shutil.rmtree(checkout)
    shutil.copytree(pristine / "checkout", checkout, symlinks=True)
    return Path(shutil.copytree(pristine / "service", work / "service", symlinks=True))


def edit(service: Path, old: str, new: str) -> None:
    """Change a line of the service and commit it."""
    file = service / "numbers.txt"
    file.write_text(file.read_text().replace(old, new))
    commit_all(service, "Mine")


def test_diff(service: Path, quickset: Run) -> None:
    """`diff` prints the difference and each file, plain when piped, changes nothing, and exits with 1."""
    shown = quickset("diff", cwd=service)

    assert shown.returncode == 1
    assert "-line 05\n+theirs 5\n" in shown.stdout
    assert "  ~ numbers.txt  changed\n" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert git.run("status", "--porcelain", cwd=service) == ""
    assert quickset("update", "--dry-run", cwd=service).stdout == shown.stdout


def test_update(service: Path, quickset: Run) -> None:
    """`update` stages the result and prints each change and the next steps. A second update has nothing to do."""
    edit(service, "line 20", "mine 20")

    done = quickset("update", "--no-lock", cwd=service)

    assert done.returncode == 0, done.stderr
    assert "Update Service from template v0.1.0 to v0.2.0\n" in done.stdout
    assert "  & numbers.txt  merged with your changes\n" in done.stdout
    assert "git commit -m 'Update Service from template v0.1.0 to v0.2.0'" in done.stdout
    text = (service / "numbers.txt").read_text()
    assert text == NUMBERS.replace("line 05", "theirs 5").replace("line 20", "mine 20")
    assert git.run("diff", "--cached", "--name-only", cwd=service).split() == [".copier-answers.yml", "numbers.txt"]
    commit_all(service, "Update")
    again = quickset("update", cwd=service)
    assert (again.returncode, "Nothing to do: the service has v0.2.0" in again.stdout) == (0, True)
    assert quickset("diff", cwd=service).returncode == 0


def test_old_names(service: Path, checkout: Path, quickset: Run) -> None:
    """`diff` and `update` list the owner's lines with old names, and `--fix-imports` rewrites imports in both."""
    entries = 'releases: {"0.3.0": {modules: {app.old: app.new}, commands: {app old: null}}}\n'
    release(checkout, "0.3.0", upgrades_dot_yml=entries)
    (service / "mine.py").write_text("from app.old import x\n")
    (service / "Makefile").write_text("a:\n\tapp old\n")
    commit_all(service, "Mine")

    listed = """\

Old names in your files{}
  ! Makefile:2  app old → no replacement
  ! mine.py:1  from app.old import x → from app.new import x
"""
    fixed = """\

Rewritten imports
  ~ mine.py:1  from app.old import x → from app.new import x
"""
    shown = quickset("diff", cwd=service)
    assert listed.format("; `--fix-imports` rewrites the imports") in shown.stdout
    previewed = quickset("diff", "--fix-imports", cwd=service)
    assert fixed in previewed.stdout
    assert "+from app.new import x\n" in previewed.stdout
    assert quickset("update", "--dry-run", "--fix-imports", cwd=service).stdout == previewed.stdout

    done = quickset("update", "--no-lock", "--fix-imports", cwd=service)

    assert done.returncode == 0, done.stderr
    assert "  ~ mine.py  imports rewritten\n" in done.stdout
    assert fixed in done.stdout
    assert (service / "mine.py").read_text() == "from app.new import x\n"
    assert quickset("update", "--continue", "--fix-imports", cwd=service).returncode == 2


def test_conflict(service: Path, quickset: Run) -> None:
    """A conflict exits with 3 and prints the next steps, and so does each command until it is resolved."""
    edit(service, "line 05", "mine 5")

    done = quickset("update", "--no-lock", cwd=service)

    assert done.returncode == 3
    assert "  ! numbers.txt  conflict\n" in done.stdout
    assert "  quickset update --continue\n" in done.stdout
    text = (service / "numbers.txt").read_text()
    assert "<<<<<<< yours\nmine 5\n=======\ntheirs 5\n>>>>>>> v0.2.0\n" in text
    for command in (("update",), ("diff",), ("add", "extras=metrics"), ("update", "--continue")):
        refused = quickset(*command, cwd=service)
        assert refused.returncode == 3
        assert "numbers.txt" in refused.stderr
        assert refused.stderr.count("\n") == 1
    git.run("add", "numbers.txt", cwd=service)
    assert "conflict markers are left in numbers.txt" in quickset("update", "--continue", cwd=service).stderr
    (service / "numbers.txt").write_text(NUMBERS.replace("line 05", "both 5"))
    git.run("add", "numbers.txt", cwd=service)
    assert quickset("update", "--continue", "--no-lock", cwd=service).returncode == 0
    assert "_commit: v0.2.0" in (service / ".copier-answers.yml").read_text()


def test_abort(service: Path, quickset: Run) -> None:
    """`--abort` undoes an update with conflicts, and is refused without one."""
    edit(service, "line 05", "mine 5")
    assert quickset("update", "--no-lock", cwd=service).returncode == 3

    done = quickset("update", "--abort", cwd=service)

    assert (done.returncode, "Undone" in done.stdout) == (0, True)
    assert git.run("status", "--porcelain", cwd=service) == ""
    for option in ("--abort", "--continue"):
        refused = quickset("update", option, cwd=service)
        assert refused.returncode == 4
        assert "there is no update" in refused.stderr


def test_json(service: Path, quickset: Run) -> None:
    """A JSON document has each changed file and the text of a pull request."""
    document = json.loads(quickset("update", "--branch", "quickset/update", "--json", cwd=service).stdout)

    assert (document["before"], document["after"], document["branch"]) == ("v0.1.0", "v0.2.0", "quickset/update")
    assert document["commit"] == git.run("rev-parse", "quickset/update", cwd=service)
    assert {change["path"]: change["kind"] for change in document["changes"]}["numbers.txt"] == "changed"
    assert "- `numbers.txt`: changed" in document["summary_markdown"]
    assert git.run("status", "--porcelain", cwd=service) == ""
    preview = json.loads(quickset("diff", "--json", cwd=service).stdout)
    assert preview["changes"] == document["changes"]


def test_branch_with_conflicts(service: Path, quickset: Run) -> None:
    """With conflicts no branch is created, and the output says so."""
    edit(service, "line 05", "mine 5")

    done = quickset("update", "--branch", "quickset/update", cwd=service)

    assert done.returncode == 3
    assert "No branch was made" in done.stdout
    assert git.run("branch", "--list", "quickset/update", cwd=service) == ""


def test_refusal_of_uncommitted(service: Path, quickset: Run) -> None:
    """Uncommitted changes in an affected file are refused by name with exit code 4, and stay."""
    (service / "numbers.txt").write_text("mine\n")

    refused = quickset("update", cwd=service)

    assert refused.returncode == 4
    assert "not committed: numbers.txt" in refused.stderr
    assert (service / "numbers.txt").read_text() == "mine\n"


def test_new_question(service: Path, checkout: Path, quickset: Run, command: list[str]) -> None:
    """A new question is asked at a terminal. Without a terminal it takes its absent value, with a note."""
    release(
        checkout,
        "0.3.0",
        copier_dot_yml=COPIER_YML + QUESTION,
        upgrades_dot_yml="absent: {limit: 0}\n",
        template__limit_dot_txt_dot_jinja="{{ limit }}\n",
    )

    output = quickset("update", "--no-lock", cwd=service)

    assert "New question limit: taken as 0" in output.stdout
    assert (service / "limit.txt").read_text() == "0\n"
    git.run("reset", "--quiet", "--hard", cwd=service)
    terminal = pexpect.spawn(
        command[0], [*command[1:], "update", "--no-lock"], cwd=service, encoding="utf-8", timeout=30
    )
    terminal.expect("limit")
    terminal.send("\x1b[D\x1b[3~7\r")
    terminal.expect(pexpect.EOF)
    assert (service / "limit.txt").read_text().strip() == "7"


def test_choice_that_is_gone(service: Path, checkout: Path, quickset: Run, command: list[str]) -> None:
    """An invalid recorded answer is asked again at a terminal. Without a terminal the error names a solution."""
    release(checkout, "0.3.0", copier_dot_yml=COPIER_YML.replace("sqlite", "duckdb"))

    refused = quickset("update", cwd=service)

    assert refused.returncode == 2
    assert "database: the service has 'sqlite', which is not valid in v0.3.0" in refused.stderr
    assert "none of: 'duckdb', 'postgresql', 'none'" in refused.stderr
    shown = quickset("update", "--dry-run", "--data", "database=none", cwd=service)
    assert (shown.returncode, shown.stdout) == (1, quickset("diff", "-d", "database=none", cwd=service).stdout)
    terminal = pexpect.spawn(
        command[0], [*command[1:], "update", "--no-lock"], cwd=service, encoding="utf-8", timeout=30
    )
    terminal.expect("database")
    terminal.send("\r")
    terminal.expect(pexpect.EOF)
    assert "database: duckdb\n" in (service / ".copier-answers.yml").read_text()


def test_add_and_remove(service: Path, quickset: Run) -> None:
    """A component is removed and added again, and a note reports when there is nothing to do."""
    gone = quickset("remove", "docker", "--no-lock", cwd=service)
    assert gone.returncode == 0, gone.stderr
    assert "  - Dockerfile  removed\n" in gone.stdout
    commit_all(service, "Without")
    back = quickset("add", "docker", "--no-lock", cwd=service)
    assert "  + Dockerfile  added\n" in back.stdout
    git.run("commit", "--quiet", "--message", "With", cwd=service)
    assert git.run("diff", "HEAD", "HEAD~2", cwd=service) == ""
    again = quickset("add", "docker", cwd=service)
    assert (again.returncode, "it is so already" in again.stdout) == (0, True)


@pytest.mark.parametrize(
    ("justfile", "needs", "proposed"),
    [
        ("check:\n    true\n", '["rust-just"]', True),
        ("", '["rust-just"]', False),
        ("check-all:\n    true\n", '["rust-just"]', False),
        ("check:\n    true\n", "[]", False),
    ],
)
def test_check_is_proposed(service: Path, quickset: Run, justfile: str, needs: str, *, proposed: bool) -> None:
    """The recipe `check` is proposed if it exists and `just` is installed."""
    (service / "justfile").write_text(justfile)
    with (service / "pyproject.toml").open("a") as project:
        project.write(f"\n[dependency-groups]\ndev = {needs}\n")
    commit_all(service, "Just")

    done = quickset("remove", "docker", "--no-lock", cwd=service)

    assert done.returncode == 0, done.stderr
    assert ("uv run just check" in done.stdout) is proposed


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "package_name=shop"), 4, "package_name is fixed once a service exists"),
        (("remove", "package_name"), 4, "package_name is fixed once a service exists"),
        (("add", "nothing"), 2, "there is no component 'nothing'; there are"),
        (("add", "project_name=Other"), 2, "there is no component 'project_name'"),
        (("add", "database"), 2, "database: say which, as in database=sqlite (or postgresql)"),
        (("add", "database=oracle"), 2, "'oracle' is none of"),
        (("add", "extras"), 2, "extras: say which"),
        (("remove", "python_version"), 2, "cannot be turned off"),
        (("add",), 2, "NAME"),
        (("update", "--to", "9.9.9"), 2, "9.9.9"),
        (("update", "--continue", "--abort"), 2, "cannot be combined"),
        (("update", "--continue", "--to", "0.2.0"), 2, "cannot be combined"),
        (("update", "--data", "database=none"), 2, "is answered already"),
        (("update", "--data", "databse=none"), 2, "no question 'databse'"),
        (("update", "--branch", "a..b"), 2, "is not a valid name for a branch"),
        (
            ("update", ".."),
            2,
            "is not a service: it has no .copier-answers.yml. If another file has its answers, give",
        ),
        (("update", "--answers-file", "a.yml"), 2, "--answers-file: there is no file a.yml"),
        (("info", "--answers-file", "a.yml"), 2, "--answers-file: there is no file a.yml"),
        (("check", "--answers-file", "a.yml"), 2, "--answers-file: there is no file a.yml"),
        (("add", "docker", "--answers-file", "a.yml"), 2, "--answers-file: there is no file a.yml"),
        (("diff", "nowhere"), 2, "nowhere"),
    ],
)
def test_wrong_usage(service: Path, quickset: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    """A mistake is reported in one clear line with its exit code, and nothing changes."""
    refused = quickset(*arguments, cwd=service)

    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert git.run("status", "--porcelain", cwd=service) == ""


def locked(service: Path) -> None:
    (service / "uv.lock").write_text("locked = 1\n")
    commit_all(service, "Lock")


def test_lock_follows(service: Path, checkout: Path, quickset: Run, fake_uv: Callable[[str], None]) -> None:
    """If dependencies change, the lock file is updated and staged. Otherwise uv is not run."""
    locked(service)
    fake_uv("echo locked = 2 > uv.lock; echo called >> ../called")
    assert "uv.lock" not in quickset("update", cwd=service).stdout
    commit_all(service, "Update")
    project = (checkout / "template" / "pyproject.toml.jinja").read_text()
    release(checkout, "0.3.0", template__pyproject_dot_toml_dot_jinja=project + 'dependencies = [\n    "anyio",\n]\n')

    done = quickset("update", cwd=service)

    assert "  ~ uv.lock  changed\n" in done.stdout
    assert (service / "uv.lock").read_text() == "locked = 2\n"
    assert git.run("status", "--porcelain", "uv.lock", cwd=service) == "M  uv.lock"


def test_lock_that_fails(service: Path, checkout: Path, quickset: Run, fake_uv: Callable[[str], None]) -> None:
    """If uv cannot lock, the update succeeds and prints the remaining step."""
    locked(service)
    fake_uv("echo 'error: no network' >&2; exit 2")
    project = (checkout / "template" / "pyproject.toml.jinja").read_text()
    release(checkout, "0.3.0", template__pyproject_dot_toml_dot_jinja=project + 'dependencies = [\n    "anyio",\n]\n')

    done = quickset("update", cwd=service)

    assert done.returncode == 0
    assert "The dependencies could not be locked (no network); run `uv lock`." in done.stdout
    assert (service / "uv.lock").read_text() == "locked = 1\n"


def test_examples_stand_in_lines(quickset: Run) -> None:
    """Each example of a help text is on its own line, without markup."""
    for name in ("new", "info", "check", "diff", "update", "add", "remove"):
        shown = quickset(name, "--help").stdout
        examples = [line for line in shown.splitlines() if line.startswith(f"    quickset {name}")]
        assert len(examples) > 1, shown
        assert "\\b" not in shown


def test_output_that_cannot_be_written(service: Path, quickset: Run, command: list[str]) -> None:
    """A full disk behind the output is one line and exit code 5. A closed pipe is exit code 5 without output."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "check"], cwd=service, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 5
    assert done.stderr.removeprefix("ready\n").startswith("quickset: the output could not be written")
    assert done.stderr.removeprefix("ready\n").count("\n") == 1


def test_file_system_that_refuses(service: Path, quickset: Run) -> None:
    """An error of the file system names its file and is not reported as an output error."""
    state = service / ".git" / "quickset"
    state.write_text("")

    done = quickset("update", "--no-lock", cwd=service)

    assert (done.returncode, done.stderr) == (5, f"quickset: File exists: {state}\n")
    assert git.run("status", "--porcelain", cwd=service) == ""
