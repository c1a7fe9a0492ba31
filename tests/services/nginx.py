"""nginx in front of several instances of a service."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.services.running import wait_until
from tests.services.servers import MissingServerError, free_port

# The WebSocket configuration from the nginx documentation, with persistent connections.
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' {connection};
    }}
    upstream service {{
        zone service 64k;
        {servers}
        {keep_alive}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, upstreams: Sequence[int], idle_seconds: int) -> Iterator[int]:
    """Run nginx until the end of the block, and yield its port.

    Args:
        folder: A folder for nginx only.
        upstreams: The ports of the instances.
        idle_seconds: The time for which it keeps an idle connection. 0 means a connection for each request.

    Raises:
        MissingServerError: nginx is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/bin")
    if program is None:
        raise MissingServerError("nginx is not installed")
    port = free_port()
    keep_alive = f"keepalive 64; keepalive_timeout {idle_seconds}s;" if idle_seconds else ""
    connection = "''" if idle_seconds else "close"
    servers = "\n        ".join(f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in upstreams)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, servers=servers, keep_alive=keep_alive, connection=connection, port=port)
    )
    command: list[str | Path] = [program, "-e", folder / "error.log", "-p", folder, "-c", configuration]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(listens(process, port), "nginx listens")
            yield port
        finally:
            process.terminate()
            process.wait(10)


def listens(process: subprocess.Popen[bytes], port: int) -> Callable[[], bool]:
    """Return a condition: a port accepts connections, and its process is running."""

    def condition() -> bool:
        assert process.poll() is None, "nginx ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    return condition
