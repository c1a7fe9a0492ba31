"""Groups of tests that run on one worker because they share an expensive service, server or image.

pytest-xdist's own `--dist=loadgroup` has no effect with pytest 9.2: it sets an attribute that pytest no longer reads.
"""

import re

from xdist.scheduler import LoadScopeScheduling

_GROUPS = (
    re.compile(r"(tests/services/behaviour)/.*\[.*\b(?:feature|layered)-(sqlite|postgresql|mysql|none)-"),
    re.compile(r"(tests/services/test_image)\.py::.*\[.*\b(sqlite|postgresql|mysql|none)\b"),
    re.compile(r"(tests/services/test_python314)\.py::"),
    # The first check of types for a version of Python takes long, and each worker has its own cache.
    re.compile(r"(tests/services/test_matrix)\.py::test_row\[.*\b(3\.1[2-9])\b"),
    re.compile(r"(tests/updates/test_kill)\.py::.*\[.*\b(update|conflicts|resume|abort)\b"),
)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # has no types
    """Gives whole groups of tests to one worker, and all other tests singly."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the group of a test: a part and its resources, or the test itself."""
    found = next(filter(None, (group.match(nodeid) for group in _GROUPS)), None)
    return "-".join(found.groups()) if found else nodeid
