"""A running CoAP transport with a scripted house behind it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
from coap_harness import Gateway


@pytest.fixture
async def gateway():
    """Make and run gateways: ``await gateway(reply_timeout_s=1)``; all are closed at the end."""
    made = []

    async def make(**options):
        one = Gateway(**options)
        made.append(one)
        await one.start()
        return one

    yield make
    for one in made:
        await one.stop()
