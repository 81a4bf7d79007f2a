"""One node for all tests of the contracts; each test starts from both contracts freshly deployed."""

from collections.abc import Iterator

import pytest
from support.anvil import Anvil
from support.contracts_kit import Chain


@pytest.fixture(scope="session")
def deployed() -> Iterator[Chain]:
    with Anvil() as node:
        yield Chain(node.web3())


@pytest.fixture
def chain(deployed: Chain) -> Iterator[Chain]:
    """Both contracts as deployed; what the test did is undone after it."""
    snapshot = deployed.web3.provider.make_request("evm_snapshot", [])["result"]
    yield deployed
    deployed.web3.provider.make_request("evm_revert", [snapshot])
