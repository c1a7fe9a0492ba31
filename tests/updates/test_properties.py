"""Random edits by the user and by the template: no line is lost."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.updates.harness import BLOCKS, NUMBERS, WINDOWS, Lab, copy, kinds, same

EXAMPLES = int(os.environ.get("QUICKSET_TEST_EXAMPLES", "15"))

FILES = {"numbers.txt": NUMBERS, "windows.txt": WINDOWS, "blocks.yaml": BLOCKS}

# Each is a position (a share of the file) and a number of lines.
Edit = tuple[str, float, int]
edits = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "replace", "move", "double"]), st.floats(0, 1), st.integers(1, 4)),
    max_size=4,
)
whole = st.sampled_from(["keep"] * 6 + ["delete", "rename", "append"])
side = st.fixed_dictionaries({name: st.tuples(whole, edits) for name in FILES})
Side = Mapping[str, tuple[str, list[Edit]]]


def edit(name: str, text: str, changes: list[Edit], by: str) -> str:
    """Edit a text. Each new line names its author and is unique."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    for number, (kind, where, count) in enumerate(changes):
        at = int(where * len(lines))
        fresh = [f"{by} {name} {number} {line}{end}" for line in range(count)]
        if kind == "insert":
            lines[at:at] = fresh
        elif kind == "replace":
            lines[at : at + count] = fresh
        elif kind == "delete":
            del lines[at : at + count]
        elif kind == "double":
            lines[at:at] = lines[at : at + count]
        else:
            moved = lines[at : at + count]
            del lines[at : at + count]
            lines[0:0] = moved
    return "".join(lines)


def apply_update(texts: Mapping[str, str], wanted: Side, by: str) -> dict[str, str | None]:
    """Return the result of one side's changes to the files. None means that it deletes a file."""
    made: dict[str, str | None] = {}
    for name, (kind, changes) in wanted.items():
        text = edit(name, texts[name], changes, by)
        if kind == "append":
            text += f"{by} {name} at the end"
        made[name] = None if kind in {"delete", "rename"} else text
        if kind == "rename":
            made[f"{by}/{name}"] = text
    return made


def lines_of(files: Mapping[str, str | None]) -> set[str]:
    return {line for text in files.values() if text is not None for line in text.splitlines()}


@pytest.mark.ci
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mine=side, theirs=side)
def test_no_line_is_lost(pristine: Path, mine: Side, theirs: Side) -> None:
    """Every line of the user is in the result, in a conflict, or removed by the template from an unedited place.

    Every line of the template is in the result, or the user deleted its file and the report names it. Each file that
    differs between the renders is reported, and no file that belongs only to the user.
    """
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(
            copy(pristine / "origin", Path(scratch, "origin")),
            copy(pristine / "service", Path(scratch, "service")),
            Path(scratch, "service"),
        )
        users, templates = apply_update(FILES, mine, "mine"), apply_update(FILES, theirs, "theirs")
        lab.commit({"mine/alike.txt": NUMBERS.replace("line 30", "mine 30")})
        lab.commit(users | {"unrelated.txt": "mine\n"})
        before = lab.snapshot()
        lab.release(templates | {"run.sh": "#!/bin/sh\n# always\n"})

        result = lab.update()

        names = lab.git("ls-files", "-z").split("\0")
        found = {name: lab.read_bytes(name).decode(errors="replace") for name in names if name and lab.exists(name)}
        present = lines_of(found)
        removed = lines_of(FILES) - lines_of(templates)
        assert lines_of(users) - removed <= present
        reported = {name for name, kind in kinds(result).items() if kind == "deleted"}
        new = {line for line in lines_of(templates) if line.startswith("theirs")}
        assert all(any(name in path for path in reported) for line in new - present for name in FILES if name in line)
        named = {name for change in result.changes for name in (change.path, change.source, *change.template_paths)}
        assert {name for name in FILES.keys() | templates.keys() if FILES.get(name) != templates.get(name)} <= named
        assert not named & {"unrelated.txt", "mine/alike.txt"}
        assert lab.snapshot().head == before.head
        if result.conflicts:
            assert lab.at() == "0.1.0"
            lab.abort()
            same(lab.snapshot(), before)
        else:
            lab.assert_clean(result)
            assert not any(line.startswith(("<<<<<<<", ">>>>>>>")) for line in present)
