"""Find a template and its releases, read its questions, and render it."""
