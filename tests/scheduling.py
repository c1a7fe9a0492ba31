"""Which tests run on one worker, because they share what is costly to make: services, servers, images.

pytest-xdist's own `--dist=loadgroup` has no effect with pytest 9.2: it sets an attribute that pytest no longer reads.
"""

import re

from xdist.scheduler import LoadScopeScheduling

_GROUPS = (
    re.compile(r"(tests/services/behaviour)/.*\[.*\b(?:feature|layered)-(sqlite|postgresql|mysql|none)-"),
    re.compile(r"(tests/services/test_image)\.py::.*\[.*\b(sqlite|postgresql|mysql|none)\b"),
    re.compile(r"(tests/services/test_python314)\.py::"),
    re.compile(r"(tests/updates/test_kill)\.py::.*\[.*\b(update|conflicts|resume|abort)\b"),
)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # has no types
    """Gives each worker whole groups of tests, and single tests for the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return what all tests on one worker have in common: a part and what it needs, or the test itself."""
    found = next(filter(None, (group.match(nodeid) for group in _GROUPS)), None)
    return "-".join(found.groups()) if found else nodeid
