"""Hooks of the whole suite; here, since the process that starts test workers reads no conftest further down."""

from tests.services.summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
