import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from quickset import git
from quickset.commands.check import CheckResult, Status, as_json, check, exit_code, shown
from quickset.commands.new import Request, new
from quickset.report.checks import show_checks
from quickset.templates.source import Source
from quickset.templates.template import CANONICAL_URL
from tests.cli.conftest import Run, commit_all, set_version

ANSWERS = ".copier-answers.yml"


@pytest.fixture
def released(checkout: Path) -> Path:
    """The small template with three releases. Each changes a file."""
    for number in range(3):
        (checkout / "template" / "VERSION").write_text(f"{number}\n")
        set_version(checkout, f"0.1.{number}")
        commit_all(checkout, "Release")
        set_version(checkout, f"0.1.{number + 1}.dev0")
        commit_all(checkout, "Go on")
    return checkout


def record(folder: Path, commit: str = "v0.1.2", url: str = CANONICAL_URL) -> Path:
    """Create a folder with the recorded version of a service, which is sufficient for a comparison of versions."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANSWERS).write_text(f"# a comment\n_commit: {commit}\n_src_path: {url}\nproject_name: A\n")
    return folder


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git.run("init", "--quiet", "--initial-branch=main", cwd=folder)
    return folder


def leave(git_dir: Path, phase: str, service: str = ".") -> None:
    """Create the leftovers of an unfinished update."""
    (git_dir / "quickset").mkdir()
    (git_dir / "quickset" / "journal.json").write_text(json.dumps({"phase": phase, "service": service}))


@pytest.mark.parametrize(
    ("commit", "status", "behind", "word", "code"),
    [
        ("v0.1.2", Status.CURRENT, 0, "", 0),
        ("0.1.2", Status.CURRENT, 0, "", 0),
        ("v0.1.1", Status.BEHIND, 1, "", 1),
        ("v0.1.0", Status.BEHIND, 2, "", 1),
        ("v0.1.10", Status.AHEAD, 0, "uvx quickset@latest", 0),
        ("v7.0.0", Status.AHEAD, 0, "uvx quickset@latest", 0),
        ("v0.0.9", Status.UNKNOWN, 0, "none of the releases that this quickset knows: 0.1.2, 0.1.1, 0.1.0", 5),
        ("v0.1.0-4-gabcdef0", Status.UNKNOWN, 0, "is not a release that this quickset knows", 5),
        ("1.5", Status.UNKNOWN, 0, "1.5 is not a release", 5),
        ("v0.1.1.dev0+gabcdef012345", Status.UNKNOWN, 0, "unreleased state that this quickset does not have", 5),
    ],
)
def test_status(
    released: Path, origin: Source, work: Path, commit: str, status: Status, behind: int, word: str, code: int
) -> None:
    """The recorded version of a service is found among the releases, or the result has a reason."""
    (found,) = check([record(work / "a", commit)], template_source=origin)

    assert (found.status, found.behind, found.exit_code) == (status, behind, code)
    assert (found.version, found.newest, found.source) == (commit.removeprefix("v"), "0.1.2", CANONICAL_URL)
    assert word in found.reason
    assert bool(word) == bool(found.reason)
    assert (found.drift, found.error) == (None, "")


def test_unreleased_states(released: Path, origin: Source, work: Path) -> None:
    """An unreleased state is behind all later releases. After the last release it is ahead."""
    commits = git.run("rev-list", "--reverse", "HEAD", cwd=released).split()
    paths = [
        record(work / name, f"v{version}+g{commit[:12]}")
        for name, version, commit in (("a", "0.1.0.dev0", commits[0]), ("b", "0.1.3.dev0", commits[-1]))
    ]

    first, last = check(paths, template_source=origin)

    assert (first.status, first.behind) == (Status.BEHIND, 3)
    assert (last.status, last.reason) == (Status.AHEAD, "an unreleased state, after every release")


def test_before_the_first_release(origin: Source, work: Path) -> None:
    """Without releases none can be newer, and a recorded release is unknown."""
    unreleased = new(Request(path=work / "a", lock=False), template_source=origin).path

    found = check([unreleased, record(work / "b", "v0.1.0")], template_source=origin)

    assert [(each.status, each.newest) for each in found] == [(Status.AHEAD, None), (Status.UNKNOWN, None)]
    assert found[1].reason == "this quickset knows no release"


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/quickset/quickset",
        "https://GitHub.com/quickset/quickset.git",
        "https://user:secret@github.com/quickset/quickset.git",
        "git@github.com:quickset/quickset.git",
        "ssh://git@github.com/quickset/quickset.git",
    ],
)
def test_one_template_by_several_names(released: Path, origin: Source, work: Path, url: str) -> None:
    """Every form of the canonical URL is found without a request to the network."""
    (found,) = check([record(work / "a", url=url)], template_source=origin)

    assert found.status is Status.CURRENT
    assert "secret" not in as_json([found])


def test_several(released: Path, origin: Source, work: Path) -> None:
    """Services are listed in the given order, and an error in one does not stop the others."""
    (work / "empty").mkdir()
    record(work / "broken")
    (work / "broken" / ANSWERS).write_text("a: [")
    paths = [
        record(work / "b b", "v0.1.0"),
        work / "empty",
        record(work / "größe"),
        work / "broken",
        work / "missing",
        record(work / "a", "v9.0.0"),
    ]

    found = check(paths, template_source=origin)

    assert [each.path for each in found] == paths
    assert [str(each.status) for each in found] == ["behind", "failed", "current", "failed", "failed", "ahead"]
    assert [each.exit_code for each in found] == [1, 2, 0, 5, 2, 0]
    assert "empty is not a service: it has no .copier-answers.yml" in found[1].error
    assert "is damaged" in found[3].error


@pytest.mark.parametrize(
    "text",
    [b"", b"- a\n", b"project_name: A\n", b"\xff\xfe", b"<<<<<<< a\n", b"[" * 5000, b"[" * 200_000, b"a: &a [*a]\n"],
    ids=["empty", "list", "no release", "bytes", "markers", "deep", "deeper", "itself"],
)
def test_damaged_answers(work: Path, text: bytes) -> None:
    """Any damage to an answers file is an error for that path."""
    record(work / "a")
    (work / "a" / ANSWERS).write_bytes(text)

    (found,) = check([work / "a"])

    assert (found.status, found.exit_code) == (Status.FAILED, 5)
    assert found.error.startswith(f"{work / 'a' / ANSWERS} is damaged")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_src_path: a\n", "it has no _commit."),
        ("_commit: v1\n", "it has no _src_path."),
        ("project_name: a\n", "it has no _src_path and no _commit."),
        ("- a\n", "it is a list, and not answers by name."),
        ("just text\n", "it is text, and not answers by name."),
        ("17\n", "it is one value, and not answers by name."),
        ("# nothing\n", "it is empty."),
        ("_commit: [v1]\n_src_path: a\n", "its _commit is a list, and not text."),
        ("_commit: v1\n_src_path: {}\n", "its _src_path is a mapping, and not text."),
        ("a: \udcff\n", "it is not UTF-8 text."),
        ("<<<<<<< a\n_commit: v1\n=======\n", "it has conflict markers."),
    ],
)
def test_damage_is_named(work: Path, text: str, words: str) -> None:
    """The error names what is missing in the answers file, or what does not belong there."""
    record(work / "a")
    (work / "a" / ANSWERS).write_bytes(os.fsencode(text))

    (found,) = check([work / "a"])

    assert f"is damaged: {words}" in found.error


def test_paths_that_lead_nowhere(work: Path) -> None:
    """A file, a link to itself and a name that is too long are errors for that path."""
    (work / "file").touch()
    (work / "loop").symlink_to("loop")

    found = check([work / "file", work / "loop", work / ("n" * 300)])

    assert [each.status for each in found] == [Status.FAILED] * 3
    assert all(each.error and each.exit_code for each in found)


def test_links(released: Path, origin: Source, work: Path) -> None:
    """A link to a service is reported under its own name."""
    top = repository(work / "real")
    record(top, "v0.1.1")
    leave(top / ".git", "conflicts")
    (work / "link").symlink_to("real")

    (found,) = check([Path("link")], template_source=origin)

    assert (found.path, found.status) == (Path("link"), Status.CONFLICTED)


@pytest.mark.parametrize(
    ("phase", "word"),
    [("conflicts", "left conflicts"), ("applying", "was interrupted"), ("aborting", "was interrupted")],
)
def test_conflicted(released: Path, origin: Source, work: Path, phase: str, word: str) -> None:
    """An unfinished update has priority over versions, which are still reported."""
    top = repository(work / "a")
    record(top, "v0.1.1")
    leave(top / ".git", phase)

    (found,) = check([top], template_source=origin)

    assert (found.status, found.exit_code, found.version, found.behind) == (Status.CONFLICTED, 3, "0.1.1", 1)
    assert word in found.reason
    assert "quickset update --continue" in found.reason


def test_conflicted_without_answers(work: Path) -> None:
    """An interrupted update explains damaged or missing answers."""
    top = repository(work / "a")
    leave(top / ".git", "applying")
    (top / ANSWERS).write_text("<<<<<<< yours\n")
    (damaged,) = check([top])
    (top / ANSWERS).unlink()
    (gone,) = check([top])
    (top / ".git" / "quickset" / "journal.json").write_text("{")
    (unreadable,) = check([top])

    assert [each.status for each in (damaged, gone, unreadable)] == [Status.CONFLICTED] * 3


def test_conflicted_in_a_monorepo(released: Path, origin: Source, work: Path) -> None:
    """Of several services in one repository only the one with an unfinished update is in conflict."""
    top = repository(work / "mono")
    paths = [record(top), record(top / "services" / "a"), record(top / "services" / "b b")]
    leave(top / ".git", "conflicts", "services/b b")

    found = check(paths, template_source=origin)

    assert [each.status for each in found] == [Status.CURRENT, Status.CURRENT, Status.CONFLICTED]


def test_conflicted_in_a_linked_worktree(released: Path, origin: Source, work: Path) -> None:
    """A linked work tree has its own updates."""
    top = repository(work / "a")
    record(top / "service")
    commit_all(top, "Start")
    git.run("worktree", "add", "--quiet", str(work / "b"), cwd=top)
    leave(top / ".git" / "worktrees" / "b", "conflicts", "service")

    main, linked = check([top / "service", work / "b" / "service"], template_source=origin)

    assert (main.status, linked.status) == (Status.CURRENT, Status.CONFLICTED)


def test_starts_no_git(released: Path, origin: Source, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases are read once for any number of services."""
    asked = []

    def releases(self: Source) -> dict[str, str]:
        asked.append(self)
        return {"0.1.2": "abc"}

    def process(*args: object, **kwargs: object) -> None:
        pytest.fail("It started a process.")

    paths = [record(repository(work / str(number))) for number in range(3)]
    monkeypatch.setattr(Source, "releases", releases)
    monkeypatch.setattr(subprocess, "run", process)

    found = check(paths, template_source=origin)

    assert [each.status for each in found] == [Status.CURRENT] * 3
    assert len(asked) == 1


def test_other_templates(tmp_path: Path, released: Path, origin: Source, work: Path) -> None:
    """Another template's tags are listed. A template that cannot be reached is unknown, and the check continues."""
    foreign = tmp_path / "foreign"
    shutil.copytree(released, foreign)
    for tag in ("v1.9.0", "v1.10.0"):
        git.run("commit", "--quiet", "--allow-empty", "--message", tag, cwd=foreign)
        git.run("tag", tag, cwd=foreign)
    paths = [
        record(work / "a", "v1.9.0", str(foreign)),
        record(work / "b", "v1.10.0", foreign.as_uri()),
        record(work / "c", "v1.0.0", str(tmp_path / "gone")),
        record(work / "d"),
    ]

    found = check(paths, template_source=origin)

    assert [str(each.status) for each in found] == ["behind", "current", "unknown", "current"]
    assert (found[0].newest, found[0].behind) == ("1.10.0", 1)
    assert found[2].reason
    assert exit_code(found) == 5


def test_credentials_stay_secret(work: Path) -> None:
    """Credentials in a URL are never printed, including in git's own messages."""
    url = "https://jane:s3cr3t@localhost:1/template.git?token=s3cr3t"

    (found,) = check([record(work / "a", url=url)])

    assert found.status is Status.UNKNOWN
    assert found.reason
    assert found.source == "https://localhost:1/template.git"
    assert "s3cr3t" not in as_json([found])
    assert shown("git@example.com:a/b.git") == "git@example.com:a/b.git"


def test_drift(released: Path, origin: Source, work: Path) -> None:
    """Edited and deleted files are listed. Added files and other line endings are not."""
    for name in ("plain", "changed"):
        new(Request(path=work / name, ref="0.1.1", lock=False), template_source=origin)
    changed = work / "changed"
    (changed / "Dockerfile").write_text("FROM other\n")
    (changed / "run.sh").unlink()
    (changed / "app" / "api.py").unlink()
    (changed / "app" / "api.py").mkdir()
    (changed / "pyproject.toml").write_bytes((changed / "pyproject.toml").read_bytes().replace(b"\n", b"\r\n"))
    (changed / "mine.py").touch()

    plain, drifted = check([work / "plain", changed], drift=True, template_source=origin)

    assert (plain.status, plain.drift) == (Status.BEHIND, ())
    assert drifted.drift is not None
    assert [(each.path, each.kind) for each in drifted.drift] == [
        ("Dockerfile", "edited"),
        ("app/api.py", "edited"),
        ("run.sh", "deleted"),
    ]


def test_drift_of_what_is_written_once(checkout: Path, origin: Source, work: Path) -> None:
    """A file that is written once belongs to the service and is not listed."""
    with (checkout / "copier.yml").open("a") as config:
        config.write("_skip_if_exists: [run.sh, migrations/]\n")
    commit_all(checkout, "Write it once")
    service = new(Request(path=work / "a", lock=False), template_source=origin).path
    (service / "run.sh").write_text("mine")
    (service / "migrations" / "env.py").unlink()

    (found,) = check([service], drift=True, template_source=origin)

    assert found.drift == ()


def test_drift_of_links(checkout: Path, origin: Source, work: Path) -> None:
    """A link of the template is compared by its target. A file that became a link is listed as edited."""
    with (checkout / "copier.yml").open("a") as config:
        config.write("_preserve_symlinks: true\n")
    for name in ("same", "turned"):
        (checkout / "template" / name).symlink_to("run.sh")
    commit_all(checkout, "Add links")
    service = new(Request(path=work / "a", lock=False), template_source=origin).path
    (service / "turned").unlink()
    (service / "turned").symlink_to("Dockerfile")
    (service / "Dockerfile").rename(service / "Containerfile")
    (service / "Dockerfile").symlink_to("Containerfile")

    (found,) = check([service], drift=True, template_source=origin)

    assert [(each.path, each.kind) for each in found.drift or ()] == [("Dockerfile", "edited"), ("turned", "edited")]


def test_drift_that_cannot_be_told(released: Path, origin: Source, work: Path) -> None:
    """Nothing is rendered for unknown versions and unfinished updates.

    Answers that the template rejects are an error.
    """
    refused = new(Request(path=work / "a", lock=False), template_source=origin).path
    answers = refused / ANSWERS
    answers.write_text(answers.read_text().replace("project_name: A", "project_name: 1A"))
    top = repository(work / "b")
    leave(top / ".git", "conflicts")
    paths = [refused, record(top), record(work / "c", "v0.0.1"), record(work / "d", "v9.0.0")]

    found = check(paths, drift=True, template_source=origin)

    assert [each.drift for each in found] == [None] * 4
    assert [each.exit_code for each in found] == [5, 3, 5, 0]
    assert "cannot be compared: project_name: It starts with a letter." in found[0].error


def test_exit_codes() -> None:
    """The worst status decides the exit code. Drift counts only on request."""

    def code(*codes: int, strict: bool = False) -> int:
        return exit_code(
            [CheckResult(path=Path(), status=Status.FAILED, exit_code=each) for each in codes], strict=strict
        )

    assert [code(0), code(0, 1), code(1, 3, 0), code(3, 2, 1), code(2, 5, 3)] == [0, 1, 3, 2, 5]
    assert code(0, strict=True) == 0


def test_check_shown(released: Path, quickset: Run, work: Path) -> None:
    """Without a terminal the result is lines, the default is the current folder, and the exit code is the status."""
    record(work / "one", "v0.1.0")
    record(work / "größer als b")

    shown = quickset("check", "one", "größer als b")
    here = quickset("check", cwd=work / "größer als b")

    assert (shown.returncode, shown.stderr) == (1, "")
    assert shown.stdout.splitlines() == [
        "behind      one           0.1.0, 2 releases behind 0.1.2",
        "current     größer als b  0.1.2",
        "",
        "`quickset diff` shows what an update brings, `quickset update` brings it.",
    ]
    assert (here.returncode, here.stdout, here.stderr) == (0, "current     .  0.1.2\n", "")


def test_check_in_a_terminal(work: Path) -> None:
    """In a terminal the result is a table that wraps between words."""
    found = [
        CheckResult(path=Path("a"), status=Status.BEHIND, version="0.1.0", newest="0.1.2", behind=1, exit_code=1),
        CheckResult(path=Path("b"), status=Status.UNKNOWN, reason="[bold]long[/] " * 20, exit_code=5),
        CheckResult(path=Path("c"), status=Status.FAILED, error="not here", exit_code=2),
    ]
    console = Console(force_terminal=True, width=60, highlight=False)

    with console.capture() as captured:
        show_checks(found, out=console)

    assert "\x1b[33mbehind" in captured.get()
    assert "1 release behind 0.1.2" in captured.get()
    assert captured.get().count("[bold]long[/]") == 20
    assert "not here" not in captured.get()


def test_check_json(released: Path, quickset: Run, work: Path) -> None:
    """One JSON document lists every path, including those with errors, and counts each status."""
    record(work / "a", "v0.1.1")

    done = quickset("check", "--json", "a", "nowhere")

    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert done.stderr == "quickset: nowhere is not a service: there is no such folder.\n"
    assert document["services"][0] == {
        "path": "a",
        "status": "behind",
        "version": "0.1.1",
        "newest": "0.1.2",
        "behind": 1,
        "source": CANONICAL_URL,
        "reason": "",
        "drift": None,
        "error": "",
        "exit_code": 1,
    }
    assert (document["services"][1]["path"], document["services"][1]["status"]) == ("nowhere", "failed")
    assert document["counts"] == dict.fromkeys(Status, 0) | {"behind": 1, "failed": 1}


def test_check_quiet(released: Path, quickset: Run, work: Path) -> None:
    """`--quiet` prints only errors and keeps the exit code."""
    record(work / "a", "v0.1.1")

    behind, missing = quickset("check", "a", "--quiet"), quickset("check", "-q", "a", "nowhere")

    assert (behind.returncode, behind.stdout, behind.stderr) == (1, "", "")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("quickset: nowhere is not a service")


def test_check_strict(released: Path, quickset: Run, work: Path) -> None:
    """Drift is information, and an error with `--strict`, which requires `--drift`."""
    quickset("new", "a", "--defaults", "--no-lock")
    same = quickset("check", "a", "--drift", "--strict")
    (work / "a" / "run.sh").unlink()
    drift, strict, only_strict = (
        quickset("check", "a", *options) for options in (["--drift"], ["--drift", "--strict"], ["--strict"])
    )
    document = json.loads(quickset("check", "a", "--drift", "--json").stdout)

    assert (same.returncode, same.stdout) == (0, "current     a  0.1.2, as rendered\n")
    assert (drift.returncode, strict.returncode, only_strict.returncode) == (0, 1, 2)
    assert drift.stdout == "current     a  0.1.2, 1 of the template's files differs\n            deleted  run.sh\n"
    assert document["services"][0]["drift"] == [{"path": "run.sh", "kind": "deleted"}]


def test_wrong_usage(quickset: Run, work: Path) -> None:
    """An unknown option and an empty path are refused. After `--` a path may start with a dash."""
    record(work / "-x", "v0.1.1")

    assert quickset("check", "--nope").returncode == 2
    assert quickset("check", "").stderr == "quickset: PATH is empty.\n"
    assert "-x" in quickset("check", "--", "-x").stdout


def test_check_imports_little(work: Path) -> None:
    """`check` imports no slow module."""
    record(work / "a")
    lines = (
        "import sys; sys.argv = ['quickset', 'check', 'a', '--json']",
        "from quickset.__main__ import main",
        "try: main()",
        "except SystemExit: pass",
        "print(*sys.modules)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)

    assert not {"copier", "jinja2", "pydantic", "rich", "asyncio"} & set(done.stdout.splitlines()[-1].split())
