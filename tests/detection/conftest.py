"""A running set of models."""

import pytest
from detection_kit import running_set

from gateway.detection.link import Limits


@pytest.fixture
async def models():
    """A set with short patience."""
    async with running_set(limits=Limits(model_s=0.5)) as found:
        yield found
