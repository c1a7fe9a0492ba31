import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from quickset import git, locking
from quickset.commands.new import Created, Request, new
from quickset.commands.target import Target
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.templates.source import Source
from quickset.templates.template import CANONICAL_URL
from tests.cli.conftest import commit_all, leftovers
from tests.questions import REPOSITORY

Uv = Callable[[str], None]


def make(origin: Source, path: Path, **options: Any) -> Created:
    return new(Request(path=path, **{"lock": False, **options}), template_source=origin)


def status(folder: Path) -> str:
    return git.run("status", "--porcelain", cwd=folder)


def test_rendered_and_committed(origin: Source, work: Path) -> None:
    """A new service is complete, committed by its owner, and has its template version recorded."""
    created = make(origin, work / "orders-api")

    recorded = yaml.safe_load((work / "orders-api" / ".copier-answers.yml").read_text())
    assert recorded["_src_path"] == CANONICAL_URL
    assert recorded["_commit"] == created.template
    assert created.template.startswith("v0.1.0.dev0+g")
    assert not created.released
    assert created.committed
    assert git.run("log", "--format=%an <%ae>", cwd=created.path) == "Jane Doe <jane@example.com>"
    assert status(created.path) == ""
    assert sorted(created.files) == sorted(
        path.relative_to(created.path).as_posix()
        for path in created.path.rglob("*")
        if path.is_file() and ".git" not in path.parts
    )
    assert leftovers(work) == []


def test_proposals(origin: Source, work: Path) -> None:
    """The path, git's identity and the running Python replace the template's defaults."""
    created = make(origin, work / "orders-api")

    assert created.answers["project_name"] == "Orders Api"
    assert created.answers["author_name"] == "Jane Doe"
    assert created.answers["python_version"] in {"3.11", "3.12", "3.13", "3.14"}


def test_proposals_that_the_template_refuses(origin: Source, work: Path, home: Path) -> None:
    """A default that the template's validator rejects is not used."""
    (home / ".gitconfig").write_text("[user]\nname = Doe, Jane\nemail = jane@example.com\n")

    created = make(origin, work / "1st")

    assert created.answers["project_name"] == "My Service"
    assert created.answers["author_name"] == ""


def test_env(origin: Source, work: Path) -> None:
    """The .env file has fresh secrets, is readable only by its owner and is not committed."""
    first, second = make(origin, work / "a"), make(origin, work / "b")

    lines = dict(line.split("=") for line in (first.path / ".env").read_text().splitlines() if "=" in line)
    assert lines["ENVIRONMENT"] == "local"
    assert lines["NOTE"] == "change-me-not"
    assert len(lines["SECRET_KEY"]) == len(lines["TOKEN"]) == 64
    assert lines["SECRET_KEY"] != lines["TOKEN"]
    assert lines["SECRET_KEY"] not in (second.path / ".env").read_text()
    assert stat.S_IMODE((first.path / ".env").stat().st_mode) == 0o600
    assert ".env" not in git.run("ls-files", cwd=first.path).split()


def test_env_stays_out_of_the_commit_without_gitignore(origin: Source, work: Path) -> None:
    """A template that does not ignore .env does not publish its secrets."""
    (origin.root / "template" / ".gitignore").unlink()
    git.run("commit", "--quiet", "--all", "--message", "Forget it", cwd=origin.root)

    created = make(origin, work / "a")

    assert status(created.path) == "?? .env"


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "it's",
        'a"b',
        "größe",
        "$HOME",
        "a/b/c",
        "-dash",
        "line\nbreak",
        b"\xff".decode(errors="surrogateescape"),
    ],
)
def test_unusual_paths(origin: Source, work: Path, name: str) -> None:
    """Any name that the file system accepts is valid, and missing parents are created."""
    created = make(origin, work / name)

    assert created.path == work / name
    assert status(created.path) == ""


def test_mode_of_the_folder(origin: Source, work: Path) -> None:
    """The folder has the mode of mkdir, not that of a temporary folder, and scripts stay executable."""
    (work / "plain").mkdir()

    created = make(origin, work / "a")

    assert created.path.stat().st_mode == (work / "plain").stat().st_mode
    assert os.access(created.path / "run.sh", os.X_OK)


def test_empty_folder(origin: Source, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, including the current one, is filled and not replaced."""
    (work / "here").mkdir()
    monkeypatch.chdir(work / "here")
    before = (work / "here").stat().st_ino

    created = make(origin, Path())

    assert created.path == work / "here"
    assert created.path.stat().st_ino == before
    assert created.answers["project_name"] == "Here"
    assert status(created.path) == ""
    assert leftovers(work) == []


def test_linked_folder(origin: Source, work: Path) -> None:
    """A link to an empty folder is followed."""
    (work / "real").mkdir()
    (work / "link").symlink_to("real")

    assert make(origin, work / "link").path == work / "real"
    assert (work / "link").is_symlink()


def test_empty_repository(origin: Source, work: Path) -> None:
    """An empty git repository is filled and keeps its branch, its settings and its remote."""
    git.run("init", "--quiet", "--initial-branch=trunk", "mine", cwd=work)
    git.run("remote", "add", "origin", "https://example.com/mine.git", cwd=work / "mine")

    created = make(origin, work / "mine")

    assert created.committed
    assert git.run("branch", "--show-current", cwd=created.path) == "trunk"
    assert git.run("remote", cwd=created.path) == "origin"
    assert status(created.path) == ""
    assert leftovers(work) == []


def test_refused_targets(origin: Source, work: Path) -> None:
    """A path with content of the user is refused and stays unchanged."""
    (work / "file").write_text("mine")
    (work / "full").mkdir()
    (work / "full" / "file").write_text("mine")
    (work / "broken" / ".git").mkdir(parents=True)
    git.run("init", "--quiet", "old", cwd=work)
    git.run("commit", "--quiet", "--allow-empty", "--message", "Mine", cwd=work / "old")
    (work / "loop").symlink_to("loop")
    before = sorted(work.rglob("*"))

    for name, reason in {
        "file": "is a file",
        "file/inside": "is a file",
        "full": "not empty",
        "broken": "cannot read",
        "old": "with commits",
    }.items():
        with pytest.raises(RefusedError, match=reason):
            make(origin, work / name)
    with pytest.raises(QuicksetError):
        make(origin, work / "loop")

    assert sorted(work.rglob("*")) == before


def test_inside_a_work_tree(origin: Source, work: Path) -> None:
    """Inside an existing repository no repository and no commit is created, and a note says so."""
    git.run("init", "--quiet", cwd=work)

    created = make(origin, work / "services" / "a")

    assert not created.committed
    assert not (created.path / ".git").exists()
    assert "another git work tree" in " ".join(created.notes)
    assert git.run("ls-files", cwd=work) == ""


def test_no_git(origin: Source, work: Path) -> None:
    """If no commit is requested, no repository is created."""
    assert not make(origin, work / "a", commit=False).committed
    assert not (work / "a" / ".git").exists()


def test_no_identity(origin: Source, work: Path, home: Path) -> None:
    """Without an identity the files are staged, and the message names the next step."""
    (home / ".gitconfig").unlink()

    created = make(origin, work / "a")

    assert not created.committed
    assert "user.name" in " ".join(created.notes)
    staged = status(created.path).splitlines()
    assert len(staged) == len(created.files) - 1
    assert all(line.startswith("A  ") for line in staged)


def test_identity_of_the_environment(origin: Source, work: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity that is only in the environment is used."""
    (home / ".gitconfig").unlink()
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "CI")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ci@example.com")

    assert make(origin, work / "a").committed


def test_hostile_git_settings(
    origin: Source, work: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, signing, git templates, global ignores and variables of an outer repository do not affect the commit."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / "ignored").write_text("*.toml\n")
    with (home / ".gitconfig").open("a") as config:
        config.write(
            f"[core]\nhooksPath = {hooks}\nexcludesFile = {tmp_path / 'ignored'}\nautocrlf = true\n"
            f"[commit]\ngpgSign = true\n[gpg]\nprogram = /nowhere\n"
            f"[init]\ndefaultBranch = trunk\ntemplateDir = {tmp_path / 'nowhere'}\n"
            '[protocol "file"]\nallow = never\n'
            '[url "ssh://git@github.com/"]\ninsteadOf = https://github.com/\n'
        )
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.editor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "false")

    created = make(origin, work / "a")

    assert created.committed
    assert git.run("branch", "--show-current", cwd=created.path) == "trunk"
    assert "pyproject.toml" in git.run("ls-files", cwd=created.path).split()
    assert b"\r" not in (created.path / "pyproject.toml").read_bytes()


def test_copier_settings_play_no_part(origin: Source, work: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults in the user's Copier settings are not used."""
    settings = home / "settings.yml"
    settings.write_text("defaults: {package_name: theirs}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))

    assert make(origin, work / "a").answers["package_name"] == "app"


def test_presets(origin: Source, work: Path) -> None:
    """The minimal preset has neither a database nor the example, and explicit answers override a preset."""
    minimal = make(origin, work / "a", preset="minimal")
    mixed = make(origin, work / "b", preset="minimal", data={"example": "true"})

    assert (minimal.answers["database"], minimal.answers["example"]) == ("none", False)
    assert (mixed.answers["database"], mixed.answers["example"]) == ("none", True)
    assert make(origin, work / "c", preset="standard").answers["database"] == "sqlite"


def test_minimal_of_this_template(work: Path) -> None:
    """The minimal service has no users, and gets none with a later database."""
    source = Source(REPOSITORY)
    bare = make(source, work / "a", preset="minimal", ref="HEAD", dry_run=True)
    stored = make(source, work / "b", preset="minimal", ref="HEAD", dry_run=True, data={"database": "sqlite"})

    assert "auth" not in bare.answers
    assert stored.answers["auth"] == "none"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"databse": "none"}, "no question 'databse'; did you mean 'database'"),
        ({"zzz": "1"}, "no question 'zzz'; the questions are project_name"),
        ({"slug": "x"}, "'slug' is derived"),
        ({"_commit": "x"}, "no question '_commit'"),
        ({"docker": "maybe"}, "docker: 'maybe' is neither true nor false"),
        ({"docker": None}, "docker: one value is needed, not nothing"),
        ({"database": "oracle"}, "database: 'oracle' is none of: 'sqlite', 'postgresql', 'none'"),
        ({"database": ["sqlite"]}, "database: one value is needed, not a list"),
        ({"package_name": True}, "package_name: text is needed, not true"),
        (
            {"extras": "metrics,logs"},
            "extras: 'logs' is none of: 'metrics', 'tracing'. Give several as extras=VALUE,VALUE",
        ),
        ({"database": "postgresql", "pool": "many"}, "pool: 'many' is not a number"),
        ({"pool": "7"}, "'pool' means nothing with database=sqlite; leave it out, or change database"),
        ({"project_name": "1st"}, "project_name: It starts with a letter"),
    ],
)
def test_wrong_answers(origin: Source, work: Path, data: dict[str, Any], message: str) -> None:
    """A wrong answer is reported with a solution, and nothing is created."""
    with pytest.raises(UsageError, match=message):
        make(origin, work / "a", data=data)

    assert list(work.iterdir()) == []


def test_right_answers(origin: Source, work: Path) -> None:
    """Text from the command line and values from a file are converted to the type of the question."""
    text = make(origin, work / "a", data={"database": "postgresql", "pool": "7", "docker": "no", "extras": "metrics"})
    typed = make(origin, work / "b", data={"python_version": 3.12, "docker": False, "extras": ["tracing"]})

    assert (text.answers["pool"], text.answers["docker"], text.answers["extras"]) == (7, False, ["metrics"])
    assert "metrics.py" in text.files
    assert (typed.answers["python_version"], typed.answers["extras"]) == ("3.12", ["tracing"])


def test_dry_run(origin: Source, work: Path) -> None:
    """A dry run reports the result and writes nothing, including no parent folders."""
    shown = make(origin, work / "a" / "b", dry_run=True)

    assert list(work.iterdir()) == []
    assert shown.files == make(origin, work / "a" / "b").files


def test_locked(origin: Source, work: Path, fake_uv: Uv) -> None:
    """The lock file is part of the first commit."""
    fake_uv('[ "$*" = lock ] && grep -q requires-python pyproject.toml && echo locked > uv.lock')

    created = make(origin, work / "a", lock=True)

    assert created.locked
    assert "uv.lock" in git.run("ls-files", cwd=created.path).split()
    assert "uv.lock" in created.files


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: Failed to fetch: `https://x/`' >&2; echo '  cause: dns error' >&2; exit 2", "fetch.*dns error"),
        ("printf '  × No solution found:\\n  ╰─▶ Because of it.\\n' >&2; exit 1", "No solution found:; Because of it"),
        ("exit 1", "no reason"),
        ("sleep 30", "was not done after"),
    ],
)
def test_not_locked(
    origin: Source, work: Path, fake_uv: Uv, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    """If locking fails, one line reports it and the service is still created."""
    fake_uv(script)
    monkeypatch.setattr(locking, "_SECONDS", 2)

    created = make(origin, work / "a", lock=True)

    assert not created.locked
    assert created.committed
    assert len(created.notes) == 1
    assert len(created.notes[0]) < 300
    assert "`uv lock`" in created.notes[0]
    assert re.search(reason, created.notes[0])


def test_lock_file_that_uv_refuses(origin: Source, checkout: Path, work: Path, fake_uv: Uv) -> None:
    """A `uv.lock` of the template stays if uv fails, and the note is correct."""
    (checkout / "template" / "uv.lock").write_text("not uv's")
    commit_all(checkout, "Add a file")
    fake_uv("exit 1")

    created = make(origin, work / "a", lock=True)

    assert created.notes[0].startswith("uv.lock is that of the template: ")


def test_without_uv(origin: Source, work: Path, only_on_path: Callable[..., None]) -> None:
    """Without uv a note reports it."""
    # The programs that `git submodule` needs, which Copier runs.
    only_on_path("git", "sh", "basename", "dirname", "sed", "uname", "cat")

    created = make(origin, work / "a", lock=True)

    assert "uv is not on PATH" in created.notes[0]


def test_without_git(origin: Source, work: Path, only_on_path: Callable[..., None]) -> None:
    """Without git the command stops at once with the reason."""
    only_on_path()

    with pytest.raises(QuicksetError, match="install git"):
        make(origin, work / "a")


@pytest.mark.parametrize("where", ["new", "empty", "repository"])
@pytest.mark.parametrize(
    "moment", ["quickset.locking.lock", "quickset.commands.new._write_env", "quickset.commands.new._commit"]
)
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_faults_leave_nothing(
    origin: Source, work: Path, monkeypatch: pytest.MonkeyPatch, where: str, moment: str, fault: BaseException
) -> None:
    """A full disk or an interrupt at any step leaves everything unchanged."""
    target = work / "deep" / "a"
    if where == "empty":
        target.mkdir(parents=True)
    if where == "repository":
        git.run("init", "--quiet", str(target), cwd=work)
    before = sorted(work.rglob("*"))

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(moment, fail)
    with pytest.raises((QuicksetError, KeyboardInterrupt)):
        make(origin, target, lock=True)

    assert sorted(work.rglob("*")) == before


def test_half_moved_files_go_back(origin: Source, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last of many moves fails, the earlier ones are undone, and the commit is removed."""
    git.run("init", "--quiet", "a", cwd=work)
    rename = Path.rename

    def fail_late(self: Path, to: Path) -> Path:
        if to == work / "a" / "run.sh":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_late)
    with pytest.raises(QuicksetError, match="Input/output error"):
        make(origin, work / "a")

    assert [path.name for path in (work / "a").iterdir()] == [".git"]
    assert status(work / "a") == ""
    assert Target.at(work / "a").git_dir


def test_read_only_place(origin: Source, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not writable is named in the error."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(QuicksetError, match=r"^Read-only file system: .*work"):
        make(origin, work / "a")


def test_target_filled_meanwhile(origin: Source, work: Path, fake_uv: Uv) -> None:
    """A file that another program creates at the target meanwhile is not overwritten."""
    fake_uv(f"mkdir {work}/a; touch {work}/a/mine; exit 1")

    with pytest.raises(RefusedError, match="meanwhile"):
        make(origin, work / "a", lock=True)

    assert [path.name for path in (work / "a").iterdir()] == ["mine"]
