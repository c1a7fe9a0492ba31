"""Keep other processes away from a work tree and its index."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quickset.errors import RefusedError, writing
from quickset.updating import journal
from quickset.updating.repository import Repository

# The content of quickset's lock on git's index. A lock of git's is empty or an index.
_LOCKED = b"quickset\n"


@contextmanager
def work_tree(repository: Repository) -> Iterator[Path]:
    """Lock a work tree for this process. The system releases the lock when the process ends.

    Args:
        repository: The repository.

    Yields:
        The folder of the journal.

    Raises:
        RefusedError: Another process holds the lock.
    """
    state = repository.state
    state.mkdir(exist_ok=True)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"another quickset process runs in {repository.top}; wait for it. Nothing was touched."
            ) from None
        # A killed run may have left it.
        _unlock_index(repository)
        try:
            yield state
        finally:
            if not (state / journal.FILE).exists():
                journal.clean(state)


@contextmanager
def index(repository: Repository, state: Path) -> Iterator[None]:
    """Lock the index with git's own lock file.

    Args:
        repository: The repository.
        state: The folder of the journal, which is locked already.

    Yields:
        Nothing.

    Raises:
        RefusedError: The index is locked already, or git is committing it.
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
            # So the lock has its content from the start, and the next run recognizes it.
            os.link(made, lock)
        except FileExistsError:
            raise
        except OSError:
            # The file system may have no hard links.
            with lock.open("xb") as file:
                try:
                    with writing(lock):
                        file.write(_LOCKED)
                        file.flush()
                except OSError:
                    # The next run would not recognize an empty file.
                    lock.unlink()
                    raise
    except FileExistsError:
        raise RefusedError(
            f"{lock} exists: another git process runs, or one was killed (then delete the file). Nothing was touched; "
            "run the command again."
        ) from None
    finally:
        made.unlink(missing_ok=True)


def _unlock_index(repository: Repository) -> None:
    lock = repository.index.with_name("index.lock")
    with suppress(FileNotFoundError):
        if lock.stat().st_size == len(_LOCKED) and lock.read_bytes() == _LOCKED:
            lock.unlink()
