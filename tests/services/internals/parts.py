"""The parts of the service in which these tests run."""

from importlib.util import find_spec
from typing import Any

import pytest

HAS_USERS = find_spec("app.users") is not None
# Where users sign in, events have an owner, and listeners and members may stay as long as a token lasts.
OWNER: dict[str, Any] = {"owner_id": None} if HAS_USERS else {}
LISTENER: dict[str, Any] = {**OWNER, "seconds": 60} if HAS_USERS else {}
MEMBER: dict[str, Any] = {"protocol": "bearer", "seconds": 60} if HAS_USERS else {}

with_users = pytest.mark.skipif(not HAS_USERS, reason="no users")
