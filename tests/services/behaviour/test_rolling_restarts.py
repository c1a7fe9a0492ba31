"""Two instances behind nginx that restart in turn while clients write."""

import contextlib
import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.services.behaviour.variants import once_without_database
from tests.services.nginx import nginx
from tests.services.running import Project, new_reference, order, wait_until
from tests.services.servers import MissingServerError, free_port

CLIENTS = 6
# The time for which nginx keeps an idle connection. With 0, its default, it opens one for each request.
KEPT = 1
NOT_KEPT = 0
SETTINGS = {
    "ENVIRONMENT": "staging",
    "DRAIN_DELAY_SECONDS": "0.5",
    "KEEP_ALIVE_SECONDS": "2",
    "SHUTDOWN_GRACE_SECONDS": "10",
}


@dataclass
class Writers:
    """Clients that create orders one after the other, each on a persistent connection."""

    port: int
    results: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def count(self) -> int:
        """The number of answered requests."""
        return self.results.total()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the clients until the end of the block."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(self._write) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self.stopped.set()
        for client in clients:
            client.result()

    def wait_for(self, count: int) -> None:
        """Wait for this number of answered requests."""
        wait_until(lambda: self.count >= count, f"{count} requests are answered", 300)

    def _write(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            while not self.stopped.is_set():
                body = json.dumps(order(new_reference()))
                connection.request("POST", "/api/v1/orders", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode()
                self.results["201" if response.status == 201 else f"{response.status} {text[:100]}"] += 1


def restart_in_turn(
    project: Project, folder: Path, *, processes: int, idle_seconds: int, rounds: int, requests: int
) -> None:
    """Restart two instances in turn under load, and check that every request was served.

    Args:
        project: The service.
        folder: The working folder of nginx.
        processes: The number of processes of an instance.
        idle_seconds: The time for which nginx keeps an idle connection.
        rounds: The number of restarts of each instance.
        requests: The number of requests that must have been sent at the end.
    """
    settings = SETTINGS | {"WEB_CONCURRENCY": str(processes)}
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        instances = [stack.enter_context(contextlib.ExitStack()) for _ in ports]
        services = [
            instance.enter_context(project.start(settings, port=port))
            for instance, port in zip(instances, ports, strict=True)
        ]
        writers = Writers(stack.enter_context(nginx(folder, ports, idle_seconds)))
        with writers.running():
            for number in range(rounds * len(ports)):
                index = number % len(ports)
                writers.wait_for(writers.count + requests // (rounds * 4))
                services[index].terminate()
                services[index].wait()
                assert services[index].events(event="stopped")
                assert not services[index].events(level="error")
                instances[index].close()
                services[index] = instances[index].enter_context(project.start(settings, port=ports[index]))
            writers.wait_for(requests)
    assert writers.results == {"201": writers.count}, writers.results


@pytest.fixture
def installed(missing_server: Callable[[str], None], tmp_path: Path) -> None:
    """Skip the test if nginx is not installed."""
    try:
        with nginx(tmp_path, [1], KEPT):
            pass
    except MissingServerError as error:
        missing_server(str(error))


@once_without_database
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("processes", "idle_seconds"), [(1, KEPT), pytest.param(2, NOT_KEPT, marks=pytest.mark.ci)])
def test_rolling_restart(project: Project, tmp_path: Path, processes: int, idle_seconds: int) -> None:
    """No write is lost when the instances of a service restart in turn."""
    restart_in_turn(project, tmp_path, processes=processes, idle_seconds=idle_seconds, rounds=1, requests=500)


@pytest.mark.full
@once_without_database
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("idle_seconds", [KEPT, NOT_KEPT])
def test_many_rolling_restarts(project: Project, tmp_path: Path, processes: int, idle_seconds: int) -> None:
    """No write of thousands is lost in many restarts."""
    restart_in_turn(project, tmp_path, processes=processes, idle_seconds=idle_seconds, rounds=5, requests=5000)
