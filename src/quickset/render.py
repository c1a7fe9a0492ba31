"""The one place that calls Copier: a template and answers become files on disk."""

import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from quickset import answers, git
from quickset.errors import QuicksetError, UsageError, os_reason
from quickset.source import CANONICAL_URL, Template

_BAD_ANSWER = re.compile(r"(?:Validation error for question|Invalid choice for) '(\w+)': (.*)", re.DOTALL)
