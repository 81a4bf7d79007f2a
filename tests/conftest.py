"""What all tests share: the support modules are importable, property tests are never timed."""

import gc
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="module", autouse=True)
def _leave_nothing_for_the_next_module():
    """Collect what clients of ended nodes and brokers left, where they left it.

    A library's socket whose peer was killed may be closed by the collector alone, which would tell whichever test it
    interrupts, hours later and by another name.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
