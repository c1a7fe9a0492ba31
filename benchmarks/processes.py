"""Run servers on a processor core of their own, and read how much of it they use."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0


class StartError(Exception):
    """Raised when a server ends or takes too long before its first response."""


class CoresError(Exception):
    """Raised when there are too few processor cores."""


def _cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    match cores:
        case [first, second, *_]:
            return first, second
    raise CoresError("two processor cores are needed: one for the server, one for the load.")


SERVER_CORE, OWN_CORE = _cores()


@dataclass(frozen=True)
class Server:
    """A process that serves HTTP.

    Attributes:
        process: The process.
        port: Where it listens.
        start_seconds: The time from the start of the process to its first response of 200.
    """

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float

    def cpu_seconds(self) -> float:
        """Return the processor time that the process and its threads have used so far."""
        # As clock_getcpuclockid(3) does; the numbers in /proc count in hundredths of a second.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def resident_megabytes(self) -> float:
        """Return how much memory the process holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6


@contextmanager
def serve(
    command: Sequence[str | Path], folder: Path, settings: Mapping[str, str], port: int, log: Path
) -> Iterator[Server]:
    """Start a server, wait until its health route answers, and end it when the context ends.

    Args:
        command: What to start.
        folder: Where.
        settings: Its environment, besides PATH.
        port: Where it will listen.
        log: Where its output goes.

    Raises:
        StartError: The server did not respond.
    """
    with log.open("wb") as output:
        # The child inherits the core; the pins of both stay.
        os.sched_setaffinity(0, {SERVER_CORE})
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        os.sched_setaffinity(0, {OWN_CORE})
    try:
        while not _healthy(port):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise StartError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            # The time until the first response is measured, to the millisecond.
            time.sleep(0.001)
        yield Server(process, port, time.perf_counter() - started)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a local port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _healthy(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(1024).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
