"""Signals neither interrupt a short step nor get lost in it."""

import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from quickset.signals import temporary_folder, uninterrupted


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "parent"
    folder.mkdir()
    return folder


def test_temporary_folder_is_removed_whole(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the removal of a temporary folder is delivered after it."""
    remove = shutil.rmtree

    def interrupted(path: Path, *, ignore_errors: bool) -> None:
        signal.raise_signal(signal.SIGINT)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_folder(parent=parent) as folder:
        (folder / "file").touch()

    assert list(parent.iterdir()) == []


def test_temporary_folder_is_created_whole(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the creation of a temporary folder leaves none."""
    make = tempfile.mkdtemp

    def interrupted(**options: str) -> str:
        folder = make(**options)
        signal.raise_signal(signal.SIGINT)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_folder(parent=parent):
        pytest.fail("the block must not start")

    assert list(parent.iterdir()) == []


def test_late_signal_is_dropped() -> None:
    """A signal during a step that must not be interrupted has no effect."""
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
