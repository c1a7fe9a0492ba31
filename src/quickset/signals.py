"""Delay signals during steps that must not be interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Block signals for the few milliseconds of a step. A signal that arrives meanwhile is too late, and is dropped.

    Yields:
        Nothing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        while late := signal.sigpending() & (_SIGNALS - before):
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
