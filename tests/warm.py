"""Makes repeated renders faster: Jinja compiles each template text once per process."""

from functools import wraps
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from collections.abc import Callable

# The options of an environment that affect its compiled code.
_OPTIONS = (
    "block_start_string", "block_end_string", "variable_start_string", "variable_end_string", "comment_start_string",
    "comment_end_string", "line_statement_prefix", "line_comment_prefix", "trim_blocks", "lstrip_blocks",
    "newline_sequence", "keep_trailing_newline", "optimized", "autoescape", "is_async", "sandboxed", "finalize",
)  # fmt: skip


def compile_once() -> None:
    """Share compiled templates between all Jinja environments of this process with the same options."""
    compile_template: Callable[..., Any] = jinja2.Environment.compile
    known: dict[object, Any] = {}

    @wraps(compile_template)
    def compile_cached(
        self: jinja2.Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,  # noqa: FBT001, FBT002 - Jinja's own signature
        defer_init: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        if not isinstance(source, str):
            return compile_template(self, source, name, filename, raw, defer_init)
        options = (type(self), *(getattr(self, option) for option in _OPTIONS))
        # The compiler fails for a missing filter or test.
        names = (frozenset(self.filters), frozenset(self.tests), frozenset(self.extensions))
        # The file name differs between clones of a template, and is used only in tracebacks.
        key = (source, name, raw, defer_init, options, names)
        if key not in known:
            known[key] = compile_template(self, source, name, filename, raw, defer_init)
        return known[key]

    jinja2.Environment.compile = compile_cached  # type: ignore[method-assign]
