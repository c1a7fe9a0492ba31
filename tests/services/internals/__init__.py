"""Tests of the template's internals, which run in generated services."""
