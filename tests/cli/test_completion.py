"""Shells complete commands, options, answers and components."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quickset.commands.new import Request, new
from quickset.templates.source import Source
from tests.questions import REPOSITORY

PROGRAMS = Path(sys.executable).parent


def in_bash(script: str, folder: Path) -> list[str]:
    """Run a script and return the lines that it prints."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": path},
    )
    return done.stdout.splitlines()


def completed(folder: Path, *words: str) -> list[str]:
    """Return the completions of the last word, split as bash splits words."""
    listed = " ".join(f"'{word}'" for word in words)
    return in_bash(
        f"""
        source <(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 quickset --show-completion bash)
        COMP_WORDS=(quickset {listed}); COMP_CWORD={len(words)}
        _quickset_completion quickset
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """,
        folder,
    )


@pytest.fixture
def service(work: Path) -> Path:
    """A service created from the template of this checkout."""
    source = Source(REPOSITORY)
    return new(Request(path=work / "shop", preset="minimal", ref="HEAD", lock=False), template_source=source).path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("up",), ["update"]),
        (("new", "shop", "--pre"), ["--preset"]),
        (("new", "shop", "--preset", "mi"), ["minimal"]),
        (("new", "shop", "--data", "error"), ["error_format=envelope", "error_format=problem"]),
        (("new", "shop", "--data", "error_format", "="), ["envelope", "problem"]),
        (("new", "shop", "--data", "error_format", "=", "pro"), ["problem"]),
        (("new", "shop", "-d", "author_n"), ["author_name="]),
        (("new", "shop", "-d", "example", "=", "t"), ["true"]),
        (("new", "shop", "-d", "reserved"), [""]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bash_completes(words: tuple[str, ...], offered: list[str], work: Path) -> None:
    """Bash offers commands, options, presets, questions, and the choices after `=`."""
    assert completed(work, *words) == offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("add", "database", "=", "p"), ["postgresql"]),
        (("add", "web"), ["websockets"]),
        (("add", "layout"), [""]),
        (("remove", "d"), ["database", "docker"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bash_completes_components(words: tuple[str, ...], offered: list[str], service: Path) -> None:
    """In a service bash completes the components that `add` and `remove` accept."""
    assert completed(service, *words) == offered


def test_no_service_no_components(work: Path) -> None:
    """Outside a service there are no completions and no error."""
    assert completed(work, "add", "web") == [""]


def test_install(work: Path, home: Path) -> None:
    """`--install-completion` detects the shell and adds the script to its startup file."""
    in_bash("quickset --install-completion; true", work)
    assert str(home / ".bash_completions" / "quickset.sh") in (home / ".bashrc").read_text()
