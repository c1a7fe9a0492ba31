"""Hold signals back while an interrupt would leave half a result."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back for the few milliseconds in which an interrupt would leave half a result.

    Yields:
        Nothing. A signal that came meanwhile came too late and is dropped.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        while late := signal.sigpending() & (_SIGNALS - before):
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
