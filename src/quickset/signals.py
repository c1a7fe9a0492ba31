"""Delay signals during steps that must not be interrupted."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Block signals for the few milliseconds of a step. A signal that arrives meanwhile is too late, and is dropped.

    Yields:
        Nothing.
    """
    with delayed() as before:
        try:
            yield
        finally:
            while late := signal.sigpending() & (_SIGNALS - before):
                signal.sigwait(late)


@contextmanager
def delayed() -> Iterator[set[int | signal.Signals]]:
    """Block signals for the few milliseconds of a step. A signal that arrives meanwhile is delivered after it.

    Yields:
        The signals that were blocked before.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def temporary_folder(prefix: str = "quickset-", parent: Path | None = None) -> Iterator[Path]:
    """Provide a temporary folder. No signal interrupts its removal.

    Args:
        prefix: The start of its name.
        parent: The folder in which it is created. By default, that of temporary files.

    Yields:
        The folder.
    """
    folder = None
    try:
        with delayed():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        yield folder
    finally:
        if folder is not None:
            with delayed():
                shutil.rmtree(folder, ignore_errors=True)
