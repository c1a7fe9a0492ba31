"""Command line processes without a repeated import: each is a fork of a process that imported it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

SERVER = """
import json, os, signal, sys

import copier, questionary, rich.console, yaml
from pathlib import Path
from quickset.cli import app
from quickset.commands import components, info, new, update
from quickset.report import checks, console, created, updated
from quickset.templates import source
from quickset.__main__ import main

# A shell starts background jobs with it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        for number, (path, flags) in enumerate(job["streams"]):
            os.dup2(os.open(path, flags), number)
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["folder"])
        sys.argv = ["quickset", *job["arguments"]]
        origin = source.Source(Path(job["checkout"]))
        source.here = lambda: origin
        main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmCommandLine:
    """A process that has imported the command line and forks for each call."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()

    def run(
        self, checkout: Path, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end, without a terminal.

        Args:
            checkout: The project with the template.
            arguments: The arguments after the program's name.
            folder: The working directory.
            environment: The environment variables.
        """
        with tempfile.TemporaryDirectory() as printed:
            out, err = Path(printed, "out"), Path(printed, "err")
            write = os.O_CREAT | os.O_WRONLY | os.O_APPEND
            job = {
                "streams": [(os.devnull, os.O_RDONLY), (str(out), write), (str(err), write)],
                "environment": dict(environment),
                "folder": str(folder),
                "arguments": list(arguments),
                "checkout": str(checkout),
            }
            assert self._server.stdin
            assert self._server.stdout
            self._server.stdin.write(f"{json.dumps(job)}\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(list(arguments), code, out.read_text(), err.read_text())
