"""A process that forks children which run an update, so that one can be killed without a second's start for each.

It reads one JSON document a line and answers with one: `start` forks a child, `wait` waits for it.
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
    """Serve until standard input ends."""
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
    # Nothing of the parent's is closed or flushed twice.
    code = 70
    try:
        # A group of its own, which is killed with its git.
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
    """Count the calls that change a work tree or what the journal needs, and die at the one that is wanted.

    Before and after each is a moment at which a kill leaves something else behind.
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
