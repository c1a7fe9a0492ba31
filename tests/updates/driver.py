"""A process that forks a child for each update, so that a test can kill one without a slow start of Python.

It reads one JSON document per line and answers with one: `start` forks a child, `wait` waits for it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from quickset.commands import update
from quickset.errors import QuicksetError
from quickset.templates.source import Source
from quickset.updating import journal, worktree


def main() -> None:
    """Serve requests until standard input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["order"] == "start":
            answer = {"pid": _fork(order)}
        else:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1])}
        print(json.dumps(answer), flush=True)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    # Nothing of the parent is closed or flushed twice.
    code = 70
    try:
        # The child's own process group, which is killed together with its git processes.
        os.setsid()
        os.environ.clear()
        os.environ.update(order["environment"])
        if order["seconds"]:
            signal.signal(signal.SIGALRM, _die)
            signal.setitimer(signal.ITIMER_REAL, order["seconds"])
        code = _run(order)
    finally:
        os._exit(code)


def _die(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def _count_changes(passed: Path) -> None:
    """Count the calls that change a work tree or the journal's files, and die at the requested one.

    A kill before or after each of these calls leaves a different state.
    """
    wanted = int(os.environ.get("QUICKSET_TEST_KILL_AT", "0"))
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        with passed.open("a") as file:
            file.write(".")
        if count == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            step()
            result = call(*args, **options)
            step()
            return result

        return counting

    inner = [(worktree, name) for name in ("_put", "_delete", "_write_index", "prepare")]
    for owner, name in (*inner, (journal, "finish"), (Path, "replace"), (os, "link")):
        setattr(owner, name, counted(getattr(owner, name)))


def _run(order: dict[str, Any]) -> int:
    path = Path(order["path"])
    _count_changes(Path(order["passed"]))
    try:
        if order["action"] == "update":
            request = update.Request(path=path, lock=False)
            conflicts = update.update(request, template_source=Source(Path(order["origin"]))).conflicts
        elif order["action"] == "resume":
            conflicts = update.resume(path, lock=False).conflicts
        else:
            conflicts = update.abort(path).conflicts
    except QuicksetError as error:
        Path(order["errors"]).write_text(str(error), encoding="utf-8")
        return error.exit_code
    return 3 if conflicts else 0
