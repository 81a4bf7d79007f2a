"""One node for all tests of the contracts; each test starts from both contracts freshly deployed."""

from collections.abc import Iterator

import pytest
from support.anvil import Anvil, Checkpoint
from support.contracts_kit import Chain


@pytest.fixture(scope="session")
def deployed() -> Iterator[Chain]:
    with Anvil() as node:
        yield Chain(node.web3())


@pytest.fixture
def chain(deployed: Chain) -> Iterator[Chain]:
    """Both contracts as deployed; what the test did is undone after it."""
    before = Checkpoint(deployed.web3)
    yield deployed
    before.restore()
