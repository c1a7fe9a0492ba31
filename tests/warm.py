"""Renders that come after the first are quicker: Jinja compiles each template text once for each process."""

from functools import wraps
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything about an environment that decides over the code that its compiler writes.
_OPTIONS = (
    "block_start_string", "block_end_string", "variable_start_string", "variable_end_string", "comment_start_string",
    "comment_end_string", "line_statement_prefix", "line_comment_prefix", "trim_blocks", "lstrip_blocks",
    "newline_sequence", "keep_trailing_newline", "optimized", "autoescape", "is_async", "sandboxed", "finalize",
)  # fmt: skip


def compile_once() -> None:
    """Make every Jinja environment of this process share what was compiled from the same text with the same options."""
    compile_anew: Callable[..., Any] = jinja2.Environment.compile
    known: dict[object, Any] = {}

    @wraps(compile_anew)
    def compile_known(
        self: jinja2.Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,  # noqa: FBT001, FBT002 - Jinja's own signature
        defer_init: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        if not isinstance(source, str):
            return compile_anew(self, source, name, filename, raw, defer_init)
        options = (type(self), *(getattr(self, option) for option in _OPTIONS))
        # A filter or a test that is missing is an error of the compiler.
        names = (frozenset(self.filters), frozenset(self.tests), frozenset(self.extensions))
        # The file is another one for each clone of a template, and only tracebacks name it.
        key = (source, name, raw, defer_init, options, names)
        if key not in known:
            known[key] = compile_anew(self, source, name, filename, raw, defer_init)
        return known[key]

    jinja2.Environment.compile = compile_known  # type: ignore[method-assign]
