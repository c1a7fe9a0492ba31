"""Keep other processes away from a work tree and its index."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quickset.errors import RefusedError, writing
from quickset.updating import journal
from quickset.updating.repository import Repository

# What a lock of ours on git's index holds. Git's own is empty or an index.
_LOCKED = b"quickset\n"


@contextmanager
def locked(repository: Repository) -> Iterator[Path]:
    """Keep other quicksets away from a work tree; the lock goes with the process, however it ends.

    Args:
        repository: Whose work tree.

    Yields:
        The folder for the journal and what belongs to it.

    Raises:
        RefusedError: Another quickset is at work.
    """
    state = repository.state
    state.mkdir(exist_ok=True)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"another quickset is at work in {repository.top}; wait for it. Nothing was touched."
            ) from None
        # Left by a run that was killed.
        _unlock_index(repository)
        try:
            yield state
        finally:
            if not (state / journal.FILE).exists():
                journal.clean(state)


@contextmanager
def index_locked(repository: Repository, state: Path) -> Iterator[None]:
    """Keep git away from the index by git's own lock.

    Args:
        repository: Whose index.
        state: The folder of the journal, which is locked.

    Yields:
        Nothing.

    Raises:
        RefusedError: The index is locked already, or a commit is being made of it.
    """
    repository.require_no_commit()
    try:
        _lock_index(repository, state)
        yield
    finally:
        _unlock_index(repository)


def _lock_index(repository: Repository, state: Path) -> None:
    lock, made = repository.index.with_name("index.lock"), state / "index.lock"
    try:
        with writing(made):
            made.write_bytes(_LOCKED)
        try:
            # It has its content from the first moment, so that the next run knows a lock of ours.
            os.link(made, lock)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links.
            with lock.open("xb") as file:
                try:
                    with writing(lock):
                        file.write(_LOCKED)
                        file.flush()
                except OSError:
                    # An empty file left behind could not be recognized later.
                    lock.unlink()
                    raise
    except FileExistsError:
        raise RefusedError(
            f"{lock} exists: another git is at work, or one was killed (then delete it). Nothing was touched; "
            "run the command again."
        ) from None
    finally:
        made.unlink(missing_ok=True)


def _unlock_index(repository: Repository) -> None:
    lock = repository.index.with_name("index.lock")
    with suppress(FileNotFoundError):
        if lock.stat().st_size == len(_LOCKED) and lock.read_bytes() == _LOCKED:
            lock.unlink()
