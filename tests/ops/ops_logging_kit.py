"""Logging as it was before a test configured it."""

import logging
from contextlib import contextmanager

import structlog


@contextmanager
def restored_logging():
    """A list for what ``configure_logging`` returned: it is closed at the end."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configured = []
    try:
        yield configured
    finally:
        for each in configured:
            each.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
