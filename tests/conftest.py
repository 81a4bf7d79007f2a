"""What all tests share: the support modules are importable, property tests are never timed."""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="module", autouse=True)
def _leave_nothing_to_the_collector():
    """Collect a module's garbage at its end: what was left open is told of the module that left it."""
    yield
    gc.collect()
